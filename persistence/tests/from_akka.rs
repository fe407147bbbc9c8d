//! Part of `docs/FROM_AKKA.md` speaks of what there is: every name in its second column, and every path in its
//! third, is used below, which compiles.

use actors::{ActorSystem, BoxError, ReplyTo};
use persistence::*;
use std::{collections::BTreeSet, future::Ready, sync::Arc, time::Duration};

const PAGE: &str = include_str!("../../docs/FROM_AKKA.md");
const NAMES_IN_USE: &str = include_str!("from_akka.rs");

#[test]
fn each_name_on_the_page_is_one_of_this_crate() {
    let (_, page) = PAGE.split_once("\n## Persistence\n").expect("a part about persistence");
    let (page, _) = page.split_once("\n## Cluster\n").expect("the last part is another crate's");
    let mut names = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Akka")) {
        let mut columns = row.split('|').skip(2);
        let mut quoted = || columns.next().unwrap_or_default().split('`').skip(1).step_by(2);
        names.extend(quoted());
        names.extend(quoted().filter(|name| name.contains("::")));
    }
    assert!(names.len() > 50, "the page lost its table: {names:?}");
    let missing: Vec<_> = names.into_iter().filter(|name| !is_used(name)).collect();
    assert!(missing.is_empty(), "use them below, or correct the page: {missing:?}");
}

/// As it is, with the types left out that have to be named here, or as `.name` where its type is known.
fn is_used(name: &str) -> bool {
    let text = ["::<E>", "::<D>", "<u32>", "<E as ", "<D as ", "<F as ", "<S as "]
        .iter()
        .fold(NAMES_IN_USE.to_owned(), |text, types| text.replace(types, ""))
        .replace(">::", "::");
    let ends = |next: Option<char>| next.is_none_or(|next| !next.is_alphanumeric() && next != '_');
    let occurs = |name: &str| text.match_indices(name).any(|(at, _)| ends(text[at + name.len()..].chars().next()));
    occurs(name) || name.split_once("::").is_some_and(|(_, member)| occurs(&format!(".{member}")))
}

#[expect(dead_code, reason = "that it compiles is the point")]
mod compiled {
    use super::*;

    fn event_sourced<E: EventSourced<Event: Send>>(
        entity: E,
        journal: impl Journal<E::Event>,
        fence: Fence,
        limits: WindowLimits,
    ) {
        let _ = (<E as EventSourced>::handle_command, <E as EventSourced>::handle_event, <E as EventSourced>::tags);
        let _ = (<E as EventSourced>::on_signal, <E as EventSourced>::retention, <E as EventSourced>::snapshot_when);
        let _ = |behavior: EventSourcedBehavior<E>, guard: ProjectionGuard<E::Event>| behavior.needed_by(guard);
        let _ = EventSourcedBehavior::new(entity, journal)
            .restart_with_backoff(Duration::ZERO, Duration::ZERO)
            .recovery_limit(RecoveryLimit::default())
            .recovery_mode(RecoveryMode::default())
            .fence(fence)
            .on_not_owner(|_| ())
            .command_window(limits);
    }

    fn effects<E: EventSourced>(event: E::Event, command: E::Command, replies: [ReplyTo<u32>; 3]) {
        let _ = (Effect::<E>::none, Effect::<E>::unhandled, Effect::<E>::stop, Effect::<E>::events);
        let (_, _) = (Effect::<E>::persist_all([event.clone()]), Effect::<E>::stash(command));
        let [first, second, third] = replies;
        let effect = Effect::<E>::persist(event).then_run(|_, _| ()).then_reply(first, |_| 1);
        let effect = effect.then_reply_outcome(second, |_| 1).then_snapshot().then_unstash_all().then_stop();
        let effect = Effect::<E>::asynchronous(std::future::ready(effect));
        let _: ReplyEffect<E> = effect.replying(third, |_| 1);
        let _ = Effect::<E>::no_reply;
    }

    fn durable_state<D: DurableState>(entity: D, store: impl StateStore<D::State>, state: D::State) {
        let _ =
            (DurableStateBehavior::new(entity, store), StateEffect::<D>::persist(state), StateEffect::<D>::delete());
    }

    fn stores<S>(store: S)
    where
        S: Journal<u32> + SnapshotStore<u32> + StateStore<u32> + EventFeed<u32> + StateFeed<u32> + EntityIds,
    {
        let _ = (<S as EventFeed<u32>>::page, <S as StateFeed<u32>>::page, <S as EntityIds>::ids, PersistenceId::of);
        let _ = |query: FeedQuery| query.slices(0..=1).tag("t");
        drop(store);
    }

    fn projections<E: Envelope>(
        feeds: [ProjectionFeed<E>; 4],
        (model, offsets, system): (&SqliteReadModel, InMemoryProjections, &ActorSystem),
    ) {
        let [first, second, third, fourth] = feeds;
        let done = |_: Arc<E>| -> Ready<Result<(), BoxError>> { std::future::ready(Ok(())) };
        let _ = first.exactly_once(model, |_, _| Ok(())).on_failure(OnFailure::default()).divided(2);
        let _ = second.at_least_once(offsets.clone(), done);
        let _ = third.at_most_once(offsets.clone(), done);
        let all = fourth.grouped(offsets, |_| -> Ready<Result<(), BoxError>> { std::future::ready(Ok(())) });
        let _ = (Projections::spawn(system, all, 2), Projection::<E>::divided);
    }

    fn seams(_: &dyn Once, _: &dyn EventAdapter<u32>, _: &dyn Codec<u32>) {}

    fn values(_: Evolution<u32, MessagePack<u32>>, _: Retention, _: CircuitBreaker, _: PersistenceSignal) {}

    fn stored(_: SqliteStore, _: PostgresStore, _: InMemoryJournal<u32>, _: Guarded<u32>) {}

    fn read(_: LiveFeed<u32>, _: LiveIds, _: ProjectionMessage) {}
}
