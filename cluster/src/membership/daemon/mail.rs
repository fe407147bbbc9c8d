//! [`Mail`]: datagrams on their way out. None waits for another: one whose name must be looked up first is put aside.

use super::counts::Counts;
use crate::{
    member::Address,
    remote::transport::{BoxFuture, SendDatagrams},
};
use bytes::Bytes;
use futures_util::{StreamExt, poll, stream::FuturesUnordered};
use std::{collections::BTreeSet, io, sync::Arc, task::Poll};
use tracing::debug;

/// Addresses that are looked up at a time.
const ASIDE_MAX: usize = 256;

pub(super) struct Mail {
    door: Arc<dyn SendDatagrams>,
    aside: FuturesUnordered<BoxFuture<'static, (Address, io::Result<()>)>>,
    slow: BTreeSet<Address>,
    counts: Arc<Counts>,
}

impl Mail {
    pub(super) fn new(door: Arc<dyn SendDatagrams>, counts: Arc<Counts>) -> Self {
        Self { door, aside: FuturesUnordered::new(), slow: BTreeSet::new(), counts }
    }

    /// Sends a datagram, or loses it. Does not wait.
    pub(super) async fn send(&mut self, to: Address, datagram: Bytes) {
        if self.slow.contains(&to) || self.aside.len() >= ASIDE_MAX {
            return self.counts.dropped("datagrams: not sent, the name is being looked up");
        }
        let (door, address) = (Arc::clone(&self.door), to.clone());
        let mut sending: BoxFuture<'static, _> = Box::pin(async move {
            let sent = door.send(address.clone(), datagram).await;
            (address, sent)
        });
        match poll!(&mut sending) {
            Poll::Ready(sent) => self.over(sent),
            Poll::Pending => {
                self.slow.insert(to);
                self.aside.push(sending);
            }
        }
    }

    /// Waits for those that were put aside; for ever if there are none. Cancel safe.
    pub(super) async fn settled(&mut self) {
        match self.aside.next().await {
            Some((address, sent)) => {
                self.slow.remove(&address);
                self.over((address, sent));
            }
            None => std::future::pending().await,
        }
    }

    fn over(&self, (to, sent): (Address, io::Result<()>)) {
        if let Err(error) = sent {
            debug!(%to, %error, "datagram not sent");
            self.counts.dropped("datagrams: not sent, the network refused");
        }
    }
}
