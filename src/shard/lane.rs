//! The order of one client's writes, kept while a range moves.
//!
//! Writes leave at once and may be under way together: the mailbox and the engine keep their order. That
//! holds as long as all go by the same map. Two things break it, and a lane mends both:
//! - a write sent by a newer map may reach the new owner before an older one, sent to the old owner, comes
//!   back as moved. So what is sent by another map waits until everything before it has ended;
//! - two writes that came back as moved may be repeated in any order. So a write is repeated only when
//!   everything before it has ended.
//!
//! The owner does its part: see [`super::tablet::Tablet::takes_by`] and [`super::serve`].
//!
//! Lives on one core, one for each connection (and one for all tasks of the node itself).

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::io::executor::sync::Signal;
use crate::types::Epoch;

#[derive(Default)]
pub struct Lane {
    state: RefCell<State>,
    front_moved: Signal,
}

#[derive(Default)]
struct State {
    /// Of the map by which the writes under way were sent first.
    epoch: Epoch,
    /// Number of the first that is under way.
    front: u64,
    /// Of the first under way and all behind it: whether each has ended.
    ended: VecDeque<bool>,
}

/// A place in the lane, given up with [`Lane::end`].
#[derive(Clone, Copy, Debug)]
pub struct Place(u64);

impl Lane {
    /// A place behind all others, and whether the write may leave now: if not, after
    /// [`Lane::front`].
    pub fn begin(&self, epoch: Epoch) -> (Place, bool) {
        let mut state = self.state.borrow_mut();
        let place = Place(state.front + state.ended.len() as u64);
        let at_once = state.ended.is_empty() || state.epoch == epoch;
        if state.ended.is_empty() {
            state.epoch = epoch;
        }
        state.ended.push_back(false);
        (place, at_once)
    }

    /// Completes when all before `place` have ended.
    pub async fn front(&self, place: Place) {
        loop {
            let moved = self.front_moved.wait();
            if self.state.borrow().front == place.0 {
                return;
            }
            moved.await;
        }
    }

    pub fn end(&self, place: Place) {
        let mut state = self.state.borrow_mut();
        let index = (place.0 - state.front) as usize;
        state.ended[index] = true;
        let before = state.front;
        while state.ended.front() == Some(&true) {
            state.ended.pop_front();
            state.front += 1;
        }
        let moved = state.front != before;
        drop(state);
        if moved {
            self.front_moved.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn is_front(lane: &Lane, place: Place) -> bool {
        pin!(lane.front(place)).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn another_map_waits_for_all_before() {
        let lane = Lane::default();
        let (first, now) = lane.begin(Epoch(1));
        assert!(now && is_front(&lane, first));
        let (second, now) = lane.begin(Epoch(1));
        assert!(now && !is_front(&lane, second), "the same map: at once, but repeated in turn");
        let (third, now) = lane.begin(Epoch(2));
        assert!(!now);
        lane.end(second);
        assert!(!is_front(&lane, third));
        lane.end(first);
        assert!(is_front(&lane, third));
        lane.end(third);
        assert!(lane.begin(Epoch(3)).1, "an empty lane takes any map");
    }
}
