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

#[derive(Debug, Default)]
struct Order {
    placed: Duration,
    to: u64,
    /// Whether `send` came back without an error.
    sent: Option<bool>,
    handled: u32,
    confirmed: bool,
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
    /// One was handled twice, confirmed and not handled, handled though `send` said that it was not sent, or nothing was
    /// heard of it.
    pub(crate) fn check(&self, present: &BTreeSet<u64>) -> anyhow::Result<()> {
        let now = line::now();
        for (number, order) in &self.orders {
            ensure!(order.handled < 2, "order {number} was handled {} times: {order:?}", order.handled);
            // What the client said may be heard later than what came of it.
            let late = order.placed != Duration::ZERO && order.placed + WITHIN < now;
            let lost = order.confirmed && order.handled == 0 && late;
            ensure!(!lost, "order {number} was confirmed and not handled: {order:?}");
            ensure!(
                order.sent != Some(false) || order.handled == 0,
                "order {number} was handled and not sent: {order:?}"
            );
            if late {
                ensure!(order.sent.is_some(), "order {number}: `send` does not come back: {order:?}");
                let there = order.sent == Some(true) && present.contains(&order.to);
                ensure!(!there || order.confirmed, "order {number}, to one that is there, is not confirmed: {order:?}");
            }
        }
        Ok(())
    }
}

impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is: fn(&Order) -> bool| self.orders.values().filter(|order| is(order)).count();
        write!(
            f,
            "{} orders, {} of them to the singleton: {} confirmed, {} refused by an error, {} sent and never confirmed (of \
             them {} handled, {} to the singleton)",
            self.orders.len(),
            count(|order| order.to == 0),
            count(|order| order.confirmed),
            count(|order| order.sent == Some(false)),
            count(|order| order.sent == Some(true) && !order.confirmed),
            count(|order| order.sent == Some(true) && !order.confirmed && order.handled > 0),
            count(|order| order.sent == Some(true) && !order.confirmed && order.to == 0),
        )
    }
}
