//! Asks of several actors from inside an actor: the outcome comes back as one message.

use std::time::Duration;

use super::{NotEnoughAnswers, ask_all, ask_first, ask_hedged};
use crate::actor_ref::ActorRef;
use crate::ask::ReplyTo;
use crate::context::ActorContext;

impl<M: Send + 'static> ActorContext<M> {
    /// [`ask_all`] without waiting: `map` turns the outcome into a message to this actor, in this actor's turn, `within`
    /// at the latest.
    ///
    /// There is exactly one such message, unless this life ends first: a later life does not get it.
    pub fn ask_all<'a, N, R>(
        &mut self,
        targets: impl IntoIterator<Item = &'a ActorRef<N>>,
        make: impl FnMut(ReplyTo<R>) -> N,
        within: Duration,
        map: impl FnOnce(Result<Vec<R>, NotEnoughAnswers<R>>) -> M + Send + 'static,
    ) where
        N: Send + 'static,
        R: Send + 'static,
    {
        self.pipe_to_self(ask_all(targets, make, within), map);
    }

    /// [`ask_first`] without waiting: `map` turns the outcome into a message to this actor, in this actor's turn,
    /// `within` at the latest.
    ///
    /// There is exactly one such message, unless this life ends first: a later life does not get it.
    pub fn ask_first<'a, N, R>(
        &mut self,
        wanted: usize,
        targets: impl IntoIterator<Item = &'a ActorRef<N>>,
        make: impl FnMut(ReplyTo<R>) -> N,
        within: Duration,
        map: impl FnOnce(Result<Vec<(usize, R)>, NotEnoughAnswers<R>>) -> M + Send + 'static,
    ) where
        N: Send + 'static,
        R: Send + 'static,
    {
        self.pipe_to_self(ask_first(wanted, targets, make, within), map);
    }

    /// [`ask_hedged`] without waiting: `map` turns the outcome into a message to this actor, in this actor's turn,
    /// `within` at the latest. The questions after the first are made beside this actor; a panic of `make` fails it.
    ///
    /// There is exactly one such message, unless this life ends first: a later life does not get it.
    pub fn ask_hedged<'a, N, R>(
        &mut self,
        targets: impl IntoIterator<Item = &'a ActorRef<N>>,
        make: impl FnMut(ReplyTo<R>) -> N + Send + 'static,
        delay: Duration,
        within: Duration,
        map: impl FnOnce(Result<R, NotEnoughAnswers<R>>) -> M + Send + 'static,
    ) where
        N: Send + 'static,
        R: Send + 'static,
    {
        self.pipe_to_self(ask_hedged(targets, make, delay, within), map);
    }
}
