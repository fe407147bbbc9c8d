//! Writers of one journal, each with an entity of its own and one event under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use persistence::{Append, Fence, Journal, PersistenceId, RawEvent};

/// What an event of ours looks like.
pub const MANIFEST: &str = "type.googleapis.com/com.example.shoppingcart.persistence.ItemAdded";
/// The type of all entities.
pub const TYPE: &str = "cart";

pub struct Writers<J> {
    journal: Arc<J>,
    writers: Vec<Writer>,
}

pub struct Writer {
    id: PersistenceId,
    fence: Fence,
    manifest: Arc<str>,
    payload: Bytes,
    next: u64,
}

impl<J: Journal<RawEvent>> Writers<J> {
    pub async fn new(journal: J, writers: usize, payload: usize) -> anyhow::Result<Self> {
        let fences = journal.claim_all(TYPE.into(), 0..persistence::SLICES).await?;
        let writer = |number: usize| {
            let id = Self::id(number);
            let (manifest, payload) = (MANIFEST.into(), vec![7; payload].into());
            Writer { fence: fences[usize::from(id.slice())].clone(), id, manifest, payload, next: 1 }
        };
        Ok(Self { journal: Arc::new(journal), writers: (0..writers).map(writer).collect() })
    }

    pub fn id(number: usize) -> PersistenceId {
        PersistenceId::of(TYPE, &number.to_string())
    }

    /// Events a second, each acknowledged before its writer's next.
    pub async fn write_for(&mut self, time: Duration) -> anyhow::Result<f64> {
        let started = Instant::now();
        let writing = self.writers.drain(..).map(|mut writer| {
            let journal = self.journal.clone();
            tokio::spawn(async move {
                let mut events = 0_u64;
                while started.elapsed() < time {
                    writer.append(&*journal, 1).await?;
                    events += 1;
                }
                anyhow::Ok((writer, events))
            })
        });
        let mut events = 0;
        for writing in writing.collect::<Vec<_>>() {
            let (writer, written) = writing.await??;
            self.writers.push(writer);
            events += written;
        }
        Ok(events as f64 / started.elapsed().as_secs_f64())
    }

    /// Gives every writer so many events, in batches of at most 500.
    pub async fn fill(&mut self, each: u64) -> anyhow::Result<()> {
        for _ in 0..each.div_ceil(500) {
            for chunk in self.writers.chunks_mut(64) {
                let journal = &*self.journal;
                let appends = chunk.iter_mut().map(|writer| {
                    let count = 500.min(each.saturating_sub(writer.next - 1));
                    writer.append(journal, count)
                });
                futures_util::future::try_join_all(appends).await?;
            }
        }
        Ok(())
    }
}

impl Writer {
    async fn append(&mut self, journal: &impl Journal<RawEvent>, count: u64) -> anyhow::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let event = RawEvent { manifest: self.manifest.clone(), payload: self.payload.clone(), meta: None };
        let append = Append {
            id: self.id.clone(),
            expected_seq: self.next,
            fence: self.fence.clone(),
            batch_id: u128::from(self.next),
            events: vec![event; count as usize],
            tags: Vec::new(),
            time_ms: 0,
        };
        self.next = journal.append(append).await? + 1;
        Ok(())
    }
}
