//! [`Orders`]: what became of each order of a client.

use crate::line::{self, Line};
use anyhow::ensure;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// How long `send` may take in the worst case, and a confirmation.
const WITHIN: Duration = Duration::from_secs(30);

/// Instead of the uid of a peer.
const SINGLETON: u64 = 0;

#[derive(Debug, Default)]
struct Order {
    placed: Duration,
    to: u64,
    /// Whether `send` came back without an error.
    sent: Option<bool>,
    handled: u32,
    confirmed: bool,
}

impl Order {
    /// Whether all has been heard that will be. What the client said may be heard later than what came of it.
    fn is_late(&self, now: Duration) -> bool {
        self.placed != Duration::ZERO && self.placed + WITHIN < now
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    orders: BTreeMap<u64, Order>,
}

impl Orders {
    pub(crate) fn hear(&mut self, at: Duration, line: &Line) {
        match *line {
            Line::Placed { order, to } => {
                let entry = self.orders.entry(order).or_default();
                (entry.placed, entry.to) = (at, to);
            }
            Line::Sent { order } => self.orders.entry(order).or_default().sent = Some(true),
            Line::NotSent { order } => self.orders.entry(order).or_default().sent = Some(false),
            Line::Handled { order } => self.orders.entry(order).or_default().handled += 1,
            Line::Confirmed { order } => self.orders.entry(order).or_default().confirmed = true,
            _ => {}
        }
    }

    /// Looks at all orders: `present` are the actor systems that run.
    ///
    /// # Errors
    /// One was handled twice, confirmed and not handled, handled though `send` said that it was not sent, not confirmed
    /// though whom it went to is there, or nothing was heard of it.
    pub(crate) fn check(&self, present: &BTreeSet<u64>) -> anyhow::Result<()> {
        let now = line::now();
        for (number, order) in &self.orders {
            ensure!(order.handled < 2, "order {number} was handled {} times: {order:?}", order.handled);
            let late = order.is_late(now);
            let lost = order.confirmed && order.handled == 0 && late;
            ensure!(!lost, "order {number} was confirmed and not handled: {order:?}");
            ensure!(
                order.sent != Some(false) || order.handled == 0,
                "order {number} was handled and not sent: {order:?}"
            );
            if late {
                ensure!(order.sent.is_some(), "order {number}: `send` does not come back: {order:?}");
                // The singleton is always there: it moves in good order.
                let there = order.sent == Some(true) && (order.to == SINGLETON || present.contains(&order.to));
                ensure!(!there || order.confirmed, "order {number}, to one that is there, is not confirmed: {order:?}");
            }
        }
        Ok(())
    }
}

impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = line::now();
        let over: Vec<&Order> = self.orders.values().filter(|order| order.is_late(now)).collect();
        let count = |is: fn(&Order) -> bool| over.iter().filter(|order| is(order)).count();
        let lost = |order: &Order| order.sent == Some(true) && order.handled == 0;
        write!(
            f,
            "{} orders, {} of them to the singleton: {} handled and confirmed, {} handled by one that ended before it could \
             confirm, {} refused by an error, {} sent to one that ended before it could handle them, {} of those to the singleton",
            over.len(),
            count(|order| order.to == SINGLETON),
            count(|order| order.confirmed),
            count(|order| order.handled > 0 && !order.confirmed),
            count(|order| order.sent == Some(false)),
            over.iter().filter(|order| lost(order)).count(),
            over.iter().filter(|order| lost(order) && order.to == SINGLETON).count(),
        )
    }
}
