//! The time, injected so that tests can move it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

/// One moment, by both of the machine's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day, for people.
    pub wall: Timestamp,
    /// The steady clock, for how long something took: nobody sets it.
    pub steady: Instant,
}

/// Where the proxy reads the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| Moment {
            wall: Timestamp::now(),
            steady: Instant::now(),
        })
    }

    /// A clock that answers what a function says.
    #[must_use]
    pub fn new(read: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Moment {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// A clock that stands until it is moved.
    #[derive(Clone)]
    pub(crate) struct Hands(Arc<Mutex<Moment>>);

    impl Hands {
        /// A clock at a time of day.
        pub(crate) fn at(wall: &str) -> Self {
            Self(Arc::new(Mutex::new(Moment {
                wall: wall.parse().unwrap(),
                steady: Instant::now(),
            })))
        }

        /// Moves both clocks forward.
        pub(crate) fn advance(&self, by: Duration) {
            let mut now = self.0.lock().unwrap();
            now.wall += by;
            now.steady += by;
        }

        /// The clock that these hands belong to.
        pub(crate) fn clock(&self) -> Clock {
            let moment = Arc::clone(&self.0);
            Clock::new(move || *moment.lock().unwrap())
        }
    }
}
