//! Streamed commands in the tests of CRDT entities.

use proto::cloudstate::StreamCancelled;
use proto::cloudstate::crdt::crdt_stream_in::Message as In;
use proto::cloudstate::crdt::crdt_stream_out::Message as Out;
use proto::cloudstate::crdt::{
    CrdtDelta, CrdtStreamCancelledResponse, CrdtStreamIn, CrdtStreamOut, CrdtStreamedMessage,
};
use proto::model::tck::crdt::{Effect, RequestAction, Response, State, StreamedRequest};

use super::delta::{gcounter, gset, pncounter};
use super::update::{change_by, gset_add, increment, update};
use super::{Crdt, input, output, r, state, updated};
use crate::tck::entity::{Answer, Entity, Expected, Script, nothing, packed, side_effect};
use crate::tck::suite::{Test, scripted};

pub(super) const STREAMED: &[Test] = &[
    scripted!(Crdt, "verify streamed responses", "GCounter", |s| s
        .streamed(StreamedRequest::default(), r(state::gcounter(0)))
        .c([update(increment(1))], r(state::gcounter(1)).u(gcounter(1)))
        .expect(message(1, state::gcounter(1)).out())
        .c([update(increment(2))], r(state::gcounter(3)).u(gcounter(2)))
        .expect(message(1, state::gcounter(3)).out())
        .c([update(increment(3))], r(state::gcounter(6)).u(gcounter(3)))
        .expect(message(1, state::gcounter(6)).out())),
    scripted!(Crdt, "verify streamed responses with stream ending action", "GCounter", |s| s
        .streamed(
            StreamedRequest { end_state: Some(state::gcounter(3)), ..StreamedRequest::default() },
            r(state::gcounter(0)),
        )
        .c([update(increment(1))], r(state::gcounter(1)).u(gcounter(1)))
        .expect(message(1, state::gcounter(1)).out())
        .c([update(increment(2))], r(state::gcounter(3)).u(gcounter(2)))
        .expect(message(1, state::gcounter(3)).end().out())
        .c([update(increment(3))], r(state::gcounter(6)).u(gcounter(3)))),
    scripted!(Crdt, "verify streamed responses with cancellation", "PNCounter", |s| s
        .streamed(
            StreamedRequest { cancel_update: Some(change_by(-42)), ..StreamedRequest::default() },
            r(state::pncounter(0)),
        )
        .c([update(change_by(10))], r(state::pncounter(10)).u(pncounter(10)))
        .expect(message(1, state::pncounter(10)).out())
        .c([update(change_by(20))], r(state::pncounter(30)).u(pncounter(20)))
        .expect(message(1, state::pncounter(30)).out())
        .cancelled(1, Some(pncounter(-42)))
        .c([], r(state::pncounter(-12)))
        .c([update(change_by(30))], r(state::pncounter(18)).u(pncounter(30)))),
    scripted!(Crdt, "verify empty streamed responses with cancellation", "PNCounter", |s| s
        .c([update(change_by(10))], r(state::pncounter(10)).u(pncounter(10)))
        .streamed(
            StreamedRequest { cancel_update: Some(change_by(-42)), empty: true, ..StreamedRequest::default() },
            nothing(),
        )
        .cancelled(2, Some(pncounter(-42)))
        .c([], r(state::pncounter(-32)))),
    scripted!(Crdt, "verify streamed responses with side effects", "GSet", |s| s
        .streamed(
            StreamedRequest { effects: vec![effect("one", false), effect("two", true)], ..StreamedRequest::default() },
            r(state::gset([])),
        )
        .c(add("a"), r(state::gset(["a"])).u(gset(["a"])))
        .expect(message(1, state::gset(["a"])).eff("one").eff_sync("two").out())
        .c(add("b"), r(state::gset(["a", "b"])).u(gset(["b"])))
        .expect(message(1, state::gset(["a", "b"])).eff("one").eff_sync("two").out())),
];

fn effect(id: &str, synchronous: bool) -> Effect {
    Effect { id: id.to_owned(), synchronous }
}

fn add(element: &str) -> [RequestAction; 1] {
    [update(gset_add(element))]
}

/// A streamed command of `ProcessStreamed`.
pub(super) fn streamed_command(entity: &Entity, id: i64, request: StreamedRequest) -> CrdtStreamIn {
    let request = StreamedRequest { id: entity.id.clone(), ..request };
    entity.payload::<Crdt>(id, "ProcessStreamed", packed::<Crdt>("StreamedRequest", &request), true)
}

/// The client of a streamed command is gone.
pub(super) fn stream_cancelled(entity: &Entity, id: i64) -> CrdtStreamIn {
    input(In::StreamCancelled(StreamCancelled { entity_id: entity.id.clone(), id }))
}

/// What a cancelled command is answered with.
pub(super) fn cancelled_response(id: i64, update: Option<CrdtDelta>) -> CrdtStreamOut {
    output(Out::StreamCancelledResponse(CrdtStreamCancelledResponse {
        command_id: id,
        side_effects: Vec::new(),
        state_action: update.map(updated),
    }))
}

/// A message of the stream that a command has opened.
#[derive(Debug, Clone)]
pub(super) struct Message(CrdtStreamedMessage);

/// The state as a message to the client of command `id`.
pub(super) fn message(id: i64, state: State) -> Message {
    let client_action = Answer::<Crdt>::Reply(Response { state: Some(state) }).client_action(id);
    Message(CrdtStreamedMessage { command_id: id, client_action, ..CrdtStreamedMessage::default() })
}

impl Message {
    fn end(mut self) -> Self {
        self.0.end_stream = true;
        self
    }

    fn eff(mut self, id: &str) -> Self {
        self.0.side_effects.push(side_effect::<Crdt>(id, false));
        self
    }

    fn eff_sync(mut self, id: &str) -> Self {
        self.0.side_effects.push(side_effect::<Crdt>(id, true));
        self
    }

    pub(super) fn out(self) -> CrdtStreamOut {
        output(Out::StreamedMessage(self.0))
    }
}

impl Script<Crdt> {
    /// `c{request}, streamed ← expected, streamed`.
    fn streamed(self, request: StreamedRequest, expected: Expected<Crdt>) -> Self {
        let id = self.id();
        let command = streamed_command(self.entity(), id, request);
        self.send(command).expect(expected.streamed().message(id)).next_id(id + 1)
    }

    /// `→ stream_cancelled ← stream_cancelled_response(update)`.
    fn cancelled(self, id: i64, update: Option<CrdtDelta>) -> Self {
        let cancelled = stream_cancelled(self.entity(), id);
        self.send(cancelled).expect(cancelled_response(id, update))
    }
}
