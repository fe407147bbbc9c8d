//! Through which commands a command came.

use std::sync::Arc;

use crate::spec::MethodSpec;

/// Through which commands a command came; [`Caller::client`] for one from outside.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Arc<Hop>>);

#[derive(Debug)]
struct Hop {
    method: Arc<MethodSpec>,
    reason: Reason,
    caller: Caller,
}

/// Why a command was given on behalf of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The response waits for it.
    SideEffectOf,
    /// Nobody waits for it.
    AsynchronousSideEffectOf,
    /// It gives the response.
    ForwardedFrom,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Reason::SideEffectOf | Reason::AsynchronousSideEffectOf => "side-effect of",
            Reason::ForwardedFrom => "forwarded from",
        }
    }
}

impl Caller {
    /// A client called.
    pub fn client() -> Self {
        Self(None)
    }

    /// A command called that itself came through `self`.
    pub(super) fn then(&self, method: &Arc<MethodSpec>, reason: Reason) -> Self {
        Self(Some(Arc::new(Hop { method: method.clone(), reason, caller: self.clone() })))
    }

    fn hops_inwards(&self) -> impl Iterator<Item = &Arc<Hop>> {
        std::iter::successors(self.0.as_ref(), |hop| hop.caller.0.as_ref())
    }

    pub(super) fn hops(&self) -> usize {
        self.hops_inwards().count()
    }

    /// Whether no client waits for what comes of this.
    pub(super) fn is_asynchronous(&self) -> bool {
        self.hops_inwards().any(|hop| hop.reason == Reason::AsynchronousSideEffectOf)
    }

    /// The callers, innermost first, in the wording of the protocol's reports: the first one follows
    /// its reason without a blank.
    pub(super) fn trace(&self) -> String {
        let mut text = String::new();
        for (index, hop) in self.hops_inwards().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            text.push_str(&format!("\n  {}{blank}{}.{}", hop.reason.as_str(), hop.method.service, hop.method.name));
        }
        text
    }
}
