//! [`ResolverLease`]: what the decision who goes on needs of a lease.

use super::{AcquireError, Lease};
use crate::membership::node::{Effect, Input, LeaseAnswer};
use std::sync::Arc;

/// Answers a node's [`Effect::AskForLease`] from a [`Lease`], and carries out its [`Effect::ReleaseLease`]. With a lease in
/// the store that fences writes, the side that goes on is the one that can write.
///
/// Once granted it is renewed until it is released. That it was lost is told as a denial: the other side may have it.
#[derive(Clone)]
pub(crate) struct ResolverLease(Arc<dyn Lease>);

impl ResolverLease {
    pub(crate) fn new(lease: Arc<dyn Lease>) -> Self {
        Self(lease)
    }

    /// What `effect` comes to, if it is about the lease. `step` takes the inputs that follow, now and later: it must not
    /// block.
    pub(crate) fn carry_out<S>(
        &self,
        effect: &Effect,
        step: S,
    ) -> Option<impl Future<Output = ()> + Send + 'static + use<S>>
    where
        S: Fn(Input) + Clone + Send + 'static,
    {
        let lease = self.0.clone();
        let ask = match effect {
            Effect::AskForLease => true,
            Effect::ReleaseLease => false,
            _ => return None,
        };
        Some(async move {
            if !ask {
                // Not told, it expires.
                let _ = lease.release().await;
                return;
            }
            let lost = step.clone();
            let answer = match lease.acquire(Box::new(move |_| lost(Input::LeaseAnswer(LeaseAnswer::Denied)))).await {
                Ok(_) => LeaseAnswer::Granted,
                Err(AcquireError::Denied { .. }) => LeaseAnswer::Denied,
                Err(_) => LeaseAnswer::Unknown,
            };
            step(Input::LeaseAnswer(answer));
        })
    }
}
