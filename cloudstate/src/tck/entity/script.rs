//! A conversation between the suite and the user function, written down before it is held.

use anyhow::{Result, anyhow};

use super::{Entity, Expected, Kind};
use crate::tck::engine::Tck;

/// What is said on the streams of one entity, in order. Begins with an `init` without state.
#[derive(Debug)]
pub struct Script<K: Kind> {
    entity: Entity,
    next: i64, // id of the next command
    lines: Vec<Line<K>>,
}

#[derive(Debug)]
enum Line<K: Kind> {
    /// A new stream.
    Open(K::Start),
    Send(K::In),
    Expect(K::Out),
    /// The suite half-closes, the function completes.
    Pass,
}

/// Holds the conversation that `write` writes down, with an entity of the model service whose id begins with `kind`.
///
/// # Errors
/// Where the function said something else.
pub async fn play<K: Kind>(tck: &mut Tck, kind: &str, write: fn(Script<K>) -> Script<K>) -> Result<()> {
    let entity = Entity::new(K::MODEL, tck.fresh(kind));
    write(Script::new(entity)).hold(tck).await
}

impl<K: Kind> Script<K> {
    fn new(entity: Entity) -> Self {
        Self { entity, next: 1, lines: vec![Line::Open(K::Start::default())] }
    }

    /// The stream that was just opened starts from `start`.
    #[must_use]
    pub fn from(mut self, start: K::Start) -> Self {
        self.lines.pop();
        self.lines.push(Line::Open(start));
        self
    }

    /// `c{actions} ← expected` with the method `Process`.
    #[must_use]
    pub fn c(self, actions: impl Into<Vec<K::Action>>, expected: Expected<K>) -> Self {
        let (id, input) = (self.next, self.entity.command::<K>(self.next, "Process", actions));
        self.send(input).expect(expected.message(id)).next_id(id + 1)
    }

    /// The id of the next command is `id`.
    #[must_use]
    pub fn next_id(mut self, id: i64) -> Self {
        self.next = id;
        self
    }

    /// The id that the next command will have.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.next
    }

    /// The entity.
    #[must_use]
    pub fn entity(&self) -> &Entity {
        &self.entity
    }

    /// `→ message`.
    #[must_use]
    pub fn send(mut self, message: K::In) -> Self {
        self.lines.push(Line::Send(message));
        self
    }

    /// `← message`.
    #[must_use]
    pub fn expect(mut self, message: K::Out) -> Self {
        self.lines.push(Line::Expect(message));
        self
    }

    /// "pass; new stream".
    #[must_use]
    pub fn again(mut self) -> Self {
        self.lines.extend([Line::Pass, Line::Open(K::Start::default())]);
        self.next_id(1)
    }

    async fn hold(self, tck: &Tck) -> Result<()> {
        let Self { entity, lines, .. } = self;
        let closed = || anyhow!("no stream is open");
        let mut talk = None;
        for line in lines.into_iter().chain([Line::Pass]) {
            match line {
                Line::Open(start) => {
                    let opened = talk.insert(entity.talk::<K>(&tck.function));
                    opened.send(entity.init::<K>(start)).await?;
                }
                Line::Send(message) => talk.as_ref().ok_or_else(closed)?.send(message).await?,
                Line::Expect(message) => talk.as_mut().ok_or_else(closed)?.expect(message).await?,
                Line::Pass => talk.take().ok_or_else(closed)?.pass().await?,
            }
        }
        Ok(())
    }
}
