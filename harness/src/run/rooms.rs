//! Two rooms of which only one is occupied at a time: in one, cases change the world and wait
//! until it has settled; in the other, they judge it.
//!
//! Cases share nodes, and a proxy programs all Services of a node together. A connection that is
//! judged while rules are being replaced for somebody else would be judged in a world that no case
//! describes. (kube-proxy on iptables-nft does lose a few connections to unchanged Services while
//! it replaces rules. What happens during a change is for cases that are about it.)

use std::sync::Mutex;

use tokio::sync::Notify;

/// What a case is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Changing the world, or waiting until it behaves as expected.
    Changing,
    /// Judging.
    Judging,
}

/// Both rooms.
#[derive(Debug, Default)]
pub struct Rooms {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many cases are in each room. One of the two is zero.
    inside: [usize; 2],
    /// How many wait for each.
    waiting: [usize; 2],
}

/// A case in a room. It leaves when this is dropped.
#[derive(Debug)]
pub struct Inside<'a> {
    rooms: &'a Rooms,
    room: Room,
}

impl Rooms {
    /// Enters a room, once nobody is in the other. Whoever waits for the other room is let in
    /// before more follow into an occupied one.
    pub async fn enter(&self, room: Room) -> Inside<'_> {
        let (this, other) = (room as usize, 1 - room as usize);
        let mut counted = false;
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            {
                let mut state = self.state.lock().expect("no holder panics");
                let empty = state.inside == [0, 0];
                let open = state.inside[other] == 0 && (empty || state.waiting[other] == 0);
                if open {
                    state.inside[this] += 1;
                    state.waiting[this] -= usize::from(counted);
                    return Inside { rooms: self, room };
                }
                state.waiting[this] += usize::from(!counted);
                counted = true;
            }
            moved.await;
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.rooms.state.lock().expect("no holder panics").inside[self.room as usize] -= 1;
        self.rooms.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_rooms_are_never_both_occupied_and_everybody_gets_in() {
        let rooms = Arc::new(Rooms::default());
        let inside = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let together = Arc::new(AtomicUsize::new(0));
        let cases = (0..16).map(|_| {
            let (rooms, inside, together) = (rooms.clone(), inside.clone(), together.clone());
            tokio::spawn(async move {
                for round in 0..50 {
                    let room = if round % 2 == 0 {
                        Room::Changing
                    } else {
                        Room::Judging
                    };
                    let entered = rooms.enter(room).await;
                    let others = inside[room as usize].fetch_add(1, Ordering::SeqCst);
                    together.fetch_max(others + 1, Ordering::SeqCst);
                    assert_eq!(inside[1 - room as usize].load(Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    inside[room as usize].fetch_sub(1, Ordering::SeqCst);
                    drop(entered);
                }
            })
        });
        futures::future::try_join_all(cases)
            .await
            .expect("no case fails");
        assert!(together.load(Ordering::SeqCst) > 1, "cases share a room");
    }
}
