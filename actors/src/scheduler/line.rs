//! [`Line`]: the one queue of a scheduler whose order is fixed.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Hint, Order};

/// All hints in one queue: taken first come first served, or drawn by a seed. The same calls, the same order.
pub(super) struct Line(Mutex<Inner>);

struct Inner {
    hints: VecDeque<Hint>,
    draw: Option<SmallRng>,
}

impl Line {
    /// `None` where the order is left to chance.
    pub(super) fn new(order: Order) -> Option<Self> {
        let draw = match order {
            Order::Fast => return None,
            Order::Fifo => None,
            Order::Seeded(seed) => Some(SmallRng::seed_from_u64(seed)),
        };
        Some(Self(Mutex::new(Inner { hints: VecDeque::new(), draw })))
    }

    pub(super) fn push(&self, hint: Hint) {
        self.0.lock().hints.push_back(hint);
    }

    pub(super) fn pop(&self) -> Option<Hint> {
        let Inner { hints, draw } = &mut *self.0.lock();
        if hints.is_empty() {
            return None;
        }
        match draw {
            Some(draw) => {
                let index = draw.random_range(0..hints.len());
                hints.swap_remove_back(index)
            }
            None => hints.pop_front(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().hints.is_empty()
    }
}
