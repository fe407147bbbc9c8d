//! Sending through a [`Router`], which makes a router an [`ActorRef`] like any other.

use std::future::Future;
use std::pin::{Pin, pin};

use futures_util::future::{Either, select};

use super::route::{Phase, Router, Routes};
use crate::actor_ref::{ActorRef, MADE_ONCE, Recipient, Sending, Stopped, TryTellError};
use crate::block_queue::Refusal;
use crate::cell::Control;
use crate::cell_ref::ControlRef;
use crate::envelope::Question;
use crate::event_stream::DeadLetterReason;

impl<M: Send + 'static> Router<M> {
    /// Waits until a routee, or every one the message is for, has room for it.
    pub(crate) fn send(&self, message: M) -> Pin<Box<dyn Future<Output = Result<(), Stopped<M>>> + Send + '_>> {
        if let Some(copy) = self.copy_for(&message) {
            return Box::pin(self.send_each(message, copy));
        }
        let key = self.key(&message);
        Box::pin(async move {
            let mut message = Some(message);
            let sent = self.send_made(&mut || message.take().expect(MADE_ONCE), key).await;
            sent.map_err(|_| Stopped(message.take().expect(MADE_ONCE)))
        })
    }

    /// Waits at one routee; whenever the routees change, it looks again.
    async fn send_made(&self, make: &mut (dyn FnMut() -> M + Send), key: Option<u64>) -> Result<(), Refusal> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable(); // before looking, so that no change is missed
            let routes = self.routes.load_full();
            match routes.phase {
                Phase::Closed => return Err(Refusal::Stopped),
                Phase::Waiting => {
                    drop(routes);
                    changed.await;
                }
                Phase::Open => {
                    if key.is_none() && self.offer(&routes, make, None).is_ok() {
                        return Ok(());
                    }
                    let Some(routee) = self.awaited(&routes, key) else {
                        drop(routes);
                        changed.await;
                        continue;
                    };
                    let sending = pin!(routee.send_with(make));
                    if let Either::Left((Ok(()), _)) = select(sending, changed).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The routee to wait for.
    fn awaited<'a>(&self, routes: &'a Routes<M>, key: Option<u64>) -> Option<&'a ActorRef<M>> {
        self.places(routes, key).map(|place| &routes.routees[place]).find(|routee| !routee.is_stopped())
    }

    async fn send_each(&self, message: M, copy: fn(&M) -> M) -> Result<(), Stopped<M>> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let routes = self.routes.load_full();
            let mut taken = false;
            match routes.phase {
                Phase::Closed => return Err(Stopped(message)),
                Phase::Waiting => {}
                Phase::Open => {
                    for routee in &routes.routees {
                        taken |= Box::pin(routee.send(copy(&message))).await.is_ok();
                    }
                }
            }
            if taken {
                return Ok(());
            }
            drop(routes);
            changed.await;
        }
    }

    /// Sends what there seemed to be room for; should that have changed, to dead letters.
    fn tell_made(&self, message: M, question: Option<Question>) {
        match self.try_tell(message, question) {
            Ok(()) => {}
            Err(TryTellError::Full(message)) => self.undelivered(self.full_reason(), message),
            Err(TryTellError::Stopped(message)) => self.undelivered(DeadLetterReason::Stopped, message),
        }
    }
}

impl<M: Send + 'static> Recipient<M> for Router<M> {
    fn control(&self) -> &dyn Control {
        &**self.control_arc()
    }

    fn control_arc(&self) -> ControlRef {
        Router::control_arc(self).clone()
    }

    fn try_tell_with(&self, make: &mut dyn FnMut() -> M, question: Option<Question>) -> Result<(), Refusal> {
        let routes = self.routes.load();
        if routes.phase == Phase::Open && !self.looks_at_message() {
            return self.offer(&routes, make, question);
        }
        match self.refusal() {
            Some(refusal) => Err(refusal),
            None => {
                self.tell_made(make(), question);
                Ok(())
            }
        }
    }

    fn send_with<'a>(&'a self, make: &'a mut (dyn FnMut() -> M + Send)) -> Sending<'a> {
        if !self.looks_at_message() {
            return Box::pin(self.send_made(make, None));
        }
        Box::pin(async move {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                match self.refusal() {
                    None => break,
                    Some(Refusal::Stopped) => return Err(Refusal::Stopped),
                    Some(Refusal::Full) => changed.await,
                }
            }
            // Should the router stop meanwhile, to dead letters: it is made already.
            if let Err(Stopped(message)) = self.send(make()).await {
                self.undelivered(DeadLetterReason::Stopped, message);
            }
            Ok(())
        })
    }

    fn router(&self) -> Option<&Router<M>> {
        Some(self)
    }
}
