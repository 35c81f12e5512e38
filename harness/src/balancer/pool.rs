//! The pool of load-balancer addresses. Pure.

use std::collections::BTreeSet;

const FIRST: u8 = 1;
const LAST: u8 = 254;

/// Gives out the numbers of [`AddressPlan::vip`](crate::world::AddressPlan::vip).
///
/// Numbers go round: a released one is given again only after all others. A client's port that
/// was used with the old Service is then forgotten by connection tracking long before, and a new
/// connection cannot be mistaken for one of the old Service's.
#[derive(Debug, Default)]
pub(super) struct Pool {
    last: u8,
    taken: BTreeSet<u8>,
}

impl Pool {
    /// A free number; none when all are taken.
    pub(super) fn take(&mut self) -> Option<u8> {
        let after = (self.last.saturating_add(1)).max(FIRST)..=LAST;
        let number = after
            .chain(FIRST..=self.last)
            .find(|number| !self.taken.contains(number))?;
        self.last = number;
        self.taken.insert(number);
        Some(number)
    }

    /// Gives a number back.
    pub(super) fn release(&mut self, number: u8) {
        self.taken.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_number_comes_back_only_after_all_others() {
        let mut pool = Pool::default();
        assert_eq!(pool.take(), Some(1));
        pool.release(1);
        let rest: Vec<_> = (0..253).map_while(|_| pool.take()).collect();
        assert_eq!(rest, (2..=254).collect::<Vec<u8>>());
        assert_eq!(pool.take(), Some(1));
        assert_eq!(pool.take(), None);
        pool.release(200);
        assert_eq!(pool.take(), Some(200));
    }
}
