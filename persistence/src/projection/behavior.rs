//! [`Projection`]: what is read, by whom it is handled, and how that becomes an actor.

#[cfg(feature = "postgres")]
use super::into_postgres::{IntoPostgres, PostgresHandling};
use super::{
    Envelope, InvalidProjectionSettings, OnFailure, Progress, ProjectionActor, ProjectionId, ProjectionSettings,
    ProjectionStore, SqliteReadModel,
    read_model::{Handler, IntoTables, OnReset},
    sink::{ByGroup, OneByOne, Sink},
    source::{Events, FeedKind, ProjectionSource, States, shares_of},
    state::Delivery,
};
use crate::{EventFeed, FeedEvent, FeedQuery, Journal, Offset, StateChange, StateFeed, StateStore};
use actors::{BoxError, Props, SupervisorStrategy};
use futures_util::FutureExt;
use rusqlite::Transaction;
use std::{fmt, sync::Arc, time::Duration};

/// Follows a feed and has each item handled; spawn it as it is.
///
/// Events and states are read in the order in which they were stored, those of before it was there first. How handling
/// and remembering the place go together is chosen with the handler:
///
/// - [`exactly_once`](ProjectionFeed::exactly_once): tables of the program's own, written in the transaction that moves
///   the offset; on SQLite or, with `exactly_once_postgres`, PostgreSQL.
/// - [`at_least_once`](ProjectionFeed::at_least_once): anything else. After a crash some items are handled again.
/// - [`grouped`](ProjectionFeed::grouped): several at a time, at least once.
/// - [`at_most_once`](ProjectionFeed::at_most_once): never twice. After a crash one item may not have been handled.
///
/// # Failures
/// What happens to an item that the handler fails on says [`OnFailure`]. A projection that fails is started again by its
/// supervisor with a growing pause, 3 s at first and 30 s at most, and goes on at the item that failed. A database that
/// fails is no failure of an item: then the projection starts again too.
///
/// # One at a time
/// The instance that was started last has the offset; the one before it stops when it notices, and cannot move the offset
/// any more. Several instances share the work by [`slices`](FeedQuery::slices), see [`divided`](Self::divided).
///
/// # Stopping
/// A stop drops an item that is being handled by a future, and saves the offset of those that are.
pub struct Projection<I: Envelope> {
    setup: Arc<Setup<I>>,
}

/// What a projection reads, still without a handler.
pub struct ProjectionFeed<I: Envelope> {
    name: Arc<str>,
    query: FeedQuery,
    kind: FeedKind,
    pub(super) source: Arc<dyn ProjectionSource<I>>,
}

pub(super) struct Setup<I: Envelope> {
    pub(super) id: ProjectionId,
    pub(super) query: FeedQuery,
    pub(super) kind: FeedKind,
    pub(super) source: Arc<dyn ProjectionSource<I>>,
    pub(super) sink: Arc<dyn Sink<I>>,
    pub(super) delivery: Delivery,
    pub(super) on_failure: OnFailure,
    pub(super) settings: ProjectionSettings,
}

/// How a projection is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectionStatus {
    /// Which.
    pub projection: ProjectionId,
    /// Whether it has its offset; if not, `problem` says why.
    pub running: bool,
    /// Whether it waits until it is resumed.
    pub paused: bool,
    /// Everything up to here is handled or parked.
    pub offset: Offset,
    /// About so many items of any type lie behind that.
    pub behind: u64,
    /// How old the oldest one is that was read and not handled.
    pub age: Duration,
    /// Items parked.
    pub parked: usize,
    /// How it catches up.
    pub progress: Progress,
    /// What went wrong last, if nothing has gone well since.
    pub problem: Option<String>,
}

impl<E: Send + Sync + 'static> Projection<FeedEvent<E>> {
    /// The events that `query` asks for, for a projection called `name`: under this name its offset is kept.
    pub fn events<S>(name: impl Into<Arc<str>>, store: S, query: FeedQuery) -> ProjectionFeed<FeedEvent<E>>
    where
        S: EventFeed<E> + Journal<E> + Clone,
    {
        let source = Events { feed: Arc::new(store.clone()), journal: Arc::new(store) };
        ProjectionFeed { name: name.into(), query, kind: FeedKind::Events, source: Arc::new(source) }
    }
}

impl<S: Send + Sync + 'static> Projection<StateChange<S>> {
    /// The states that `query` asks for. Of states that follow each other quickly only the last may be seen.
    pub fn states<D>(name: impl Into<Arc<str>>, store: D, query: FeedQuery) -> ProjectionFeed<StateChange<S>>
    where
        D: StateFeed<S> + StateStore<S> + Clone,
    {
        let source = States { feed: Arc::new(store.clone()), store: Arc::new(store) };
        ProjectionFeed { name: name.into(), query, kind: FeedKind::States, source: Arc::new(source) }
    }
}

impl<I: Envelope> ProjectionFeed<I> {
    /// Handles each item in a transaction of `model` that also moves the offset: both happen or neither. Items are handled
    /// one by one, and some of them share a commit.
    ///
    /// The handler runs on the model's thread. It may run again for an item whose transaction was rolled back.
    pub fn exactly_once(
        self,
        model: &SqliteReadModel,
        handler: impl Fn(&Transaction<'_>, &I) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Projection<I> {
        self.into_tables(model, Handler::OneByOne(Arc::new(handler)), Delivery::ExactlyOnce, None)
    }

    /// As [`exactly_once`](Self::exactly_once); a reset also runs `on_reset` in its transaction, to empty the tables.
    pub fn exactly_once_from_scratch(
        self,
        model: &SqliteReadModel,
        handler: impl Fn(&Transaction<'_>, &I) -> Result<(), BoxError> + Send + Sync + 'static,
        on_reset: impl Fn(&Transaction<'_>) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Projection<I> {
        let handler = Handler::OneByOne(Arc::new(handler));
        self.into_tables(model, handler, Delivery::ExactlyOnce, Some(Arc::new(on_reset)))
    }

    /// As [`exactly_once`](Self::exactly_once), a group of items at a time.
    pub fn exactly_once_grouped(
        self,
        model: &SqliteReadModel,
        handler: impl Fn(&Transaction<'_>, &[Arc<I>]) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Projection<I> {
        self.into_tables(model, Handler::ByGroup(Arc::new(handler)), Delivery::ExactlyOnceGrouped, None)
    }

    /// Handles each item in a transaction of `store`'s database that also moves the offset, kept in the store's schema:
    /// both happen or neither. Items are handled one by one, over a connection of the projection's own, and some of them
    /// share a commit.
    ///
    /// The handler may run again for an item whose transaction was rolled back, for instance because a later one failed. An
    /// open transaction holds feeds back on the whole server, so a call that takes longer than the store's
    /// `statement_timeout` and five seconds is given up, and so is the connection. Behind a pooler in transaction mode, use
    /// the statements without a name (`query_typed`).
    #[cfg(feature = "postgres")]
    pub fn exactly_once_postgres(
        self,
        store: &crate::PostgresStore,
        handler: impl for<'t> Fn(&'t tokio_postgres::Transaction<'t>, &'t I) -> crate::BoxFuture<'t, Result<(), BoxError>>
        + Send
        + Sync
        + 'static,
    ) -> Projection<I> {
        self.into_postgres(store, PostgresHandling::OneByOne(Box::new(handler)), Delivery::ExactlyOnce)
    }

    /// As [`exactly_once_postgres`](Self::exactly_once_postgres), a group of items at a time.
    #[cfg(feature = "postgres")]
    pub fn exactly_once_grouped_postgres(
        self,
        store: &crate::PostgresStore,
        handler: impl for<'t> Fn(
            &'t tokio_postgres::Transaction<'t>,
            &'t [Arc<I>],
        ) -> crate::BoxFuture<'t, Result<(), BoxError>>
        + Send
        + Sync
        + 'static,
    ) -> Projection<I> {
        self.into_postgres(store, PostgresHandling::ByGroup(Box::new(handler)), Delivery::ExactlyOnceGrouped)
    }

    #[cfg(feature = "postgres")]
    fn into_postgres(
        self,
        store: &crate::PostgresStore,
        handler: PostgresHandling<I>,
        delivery: Delivery,
    ) -> Projection<I> {
        let (store, handler) = (store.clone(), Arc::new(handler));
        self.with(Arc::new(IntoPostgres { store, handler, idle: Arc::default() }), delivery)
    }

    /// Handles each item, and saves the offset some time after.
    pub fn at_least_once<F>(
        self,
        offsets: impl ProjectionStore,
        handler: impl Fn(Arc<I>) -> F + Send + Sync + 'static,
    ) -> Projection<I>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.one_by_one(offsets, handler, Delivery::AtLeastOnce)
    }

    /// Saves an item's offset, then handles it; it is not tried twice.
    pub fn at_most_once<F>(
        self,
        offsets: impl ProjectionStore,
        handler: impl Fn(Arc<I>) -> F + Send + Sync + 'static,
    ) -> Projection<I>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.one_by_one(offsets, handler, Delivery::AtMostOnce)
    }

    /// Handles several items at a time, and saves the offset after them. A group that fails is handled one by one before
    /// an item of it is parked.
    pub fn grouped<F>(
        self,
        offsets: impl ProjectionStore,
        handler: impl Fn(Vec<Arc<I>>) -> F + Send + Sync + 'static,
    ) -> Projection<I>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let handler = Arc::new(move |items| handler(items).boxed());
        self.with(Arc::new(ByGroup { store: Arc::new(offsets), handler }), Delivery::Grouped)
    }

    fn one_by_one<F>(
        self,
        offsets: impl ProjectionStore,
        handler: impl Fn(Arc<I>) -> F + Send + Sync + 'static,
        delivery: Delivery,
    ) -> Projection<I>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let handler = Arc::new(move |item| handler(item).boxed());
        let at_most_once = delivery == Delivery::AtMostOnce;
        self.with(Arc::new(OneByOne { store: Arc::new(offsets), handler, at_most_once }), delivery)
    }

    fn into_tables(
        self,
        model: &SqliteReadModel,
        handler: Handler<I>,
        delivery: Delivery,
        on_reset: Option<OnReset>,
    ) -> Projection<I> {
        self.with(Arc::new(IntoTables { model: model.clone(), handler: Arc::new(handler), on_reset }), delivery)
    }

    fn with(self, sink: Arc<dyn Sink<I>>, delivery: Delivery) -> Projection<I> {
        let Self { name, query, kind, source } = self;
        let id = id_of(&name, &query, kind);
        let (on_failure, settings) = (OnFailure::default(), ProjectionSettings::default());
        Projection { setup: Arc::new(Setup { id, query, kind, source, sink, delivery, on_failure, settings }) }
    }
}

fn id_of(name: &Arc<str>, query: &FeedQuery, kind: FeedKind) -> ProjectionId {
    match kind {
        FeedKind::Events => ProjectionId::of_events(Arc::clone(name), query),
        FeedKind::States => ProjectionId::of_states(Arc::clone(name), query),
    }
}

impl<I: Envelope> Projection<I> {
    /// What happens to an item that the handler fails on. Default: [`OnFailure::retry_then_fail`].
    #[must_use]
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        self.changed(|setup| setup.on_failure = on_failure)
    }

    /// Other bounds and delays.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn settings(self, settings: ProjectionSettings) -> Result<Self, InvalidProjectionSettings> {
        settings.validate()?;
        Ok(self.changed(|setup| setup.settings = settings))
    }

    /// Under which its offset is kept.
    #[must_use]
    pub fn id(&self) -> &ProjectionId {
        &self.setup.id
    }

    /// The same projection by so many instances, each for its share of the query's slices. The number may be another one
    /// each time they are started: what was handled by instances with other shares is not handled again, and what they
    /// have parked is parked by whoever has its slice now.
    ///
    /// # Panics
    /// When `parts` is 0 or more than the query has slices.
    #[must_use]
    pub fn divided(&self, parts: u16) -> Vec<Self> {
        let part = |slices| {
            let query = self.setup.query.clone().slices(slices);
            let id = id_of(&self.setup.id.group, &query, self.setup.kind);
            Self { setup: Arc::new(Setup { id, query, ..self.setup.copy() }) }
        };
        shares_of(&self.setup.query.slices, parts).into_iter().map(part).collect()
    }

    fn changed(self, change: impl FnOnce(&mut Setup<I>)) -> Self {
        let mut setup = self.setup.copy();
        change(&mut setup);
        Self { setup: Arc::new(setup) }
    }
}

impl<I: Envelope> Setup<I> {
    fn copy(&self) -> Self {
        Self {
            id: self.id.clone(),
            query: self.query.clone(),
            kind: self.kind,
            source: Arc::clone(&self.source),
            sink: Arc::clone(&self.sink),
            delivery: self.delivery,
            on_failure: self.on_failure,
            settings: self.settings.clone(),
        }
    }
}

impl<I: Envelope> From<Projection<I>> for Props<ProjectionActor<I>> {
    fn from(projection: Projection<I>) -> Self {
        let setup = projection.setup;
        let strategy = SupervisorStrategy::restart_with_backoff(setup.settings.restart_min, setup.settings.restart_max);
        Self::new(move || ProjectionActor::new(Arc::clone(&setup))).supervise(strategy)
    }
}

impl<I: Envelope> fmt::Debug for Projection<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Projection").field(&self.setup.id).finish()
    }
}
