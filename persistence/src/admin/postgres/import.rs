//! [`PostgresImport`]: a store made of records, in one transaction.

use super::{
    Stop, all, check,
    copying::{Copying, Table, TransactionId},
    number,
    offsets::Offsets,
    settings, wanted,
};
use crate::{
    BoxFuture, Offset, PersistenceId, PostgresOptions, SLICES,
    admin::{
        AdminError, EntityRecord, EventRecord, Finding, OwnerRecord, ParkedRecord, Progress, ProjectionRecord, Record,
        SnapshotRecord, StateRecord, StoreImport, Totals,
    },
    checksum::{Checked, CheckedState},
    postgres::{BatchId, Connector, Session, clamped, prepare_schema},
};
use actors::Clock;
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_postgres::types::{ToSql, Type};

/// How long to wait for those who are just looking at the tables.
const LOCK_WAIT_MS: u32 = 10_000;

/// A store that is being made in a schema whose tables are empty. Until it is finished nobody else can read or write these
/// tables; whatever ends it before that, the server takes back all of it.
pub struct PostgresImport {
    connector: Connector,
    session: Session,
    offsets: Offsets,
    copying: Copying,
}

impl PostgresImport {
    /// Begins in the schema that `options` name, whose tables are made if need be.
    ///
    /// # Errors
    /// [`AdminError::NotEmpty`] when anything is in them, or why the server cannot be written to.
    pub async fn begin(options: PostgresOptions, clock: Clock) -> Result<Self, AdminError> {
        let connector = Connector::new(&options, &clock)?;
        let session = connector.connect(&[]).await?;
        let identity = prepare_schema(&connector, &session).await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {}; SET LOCAL lock_timeout = {LOCK_WAIT_MS};
             LOCK TABLE meta, entity, owner, journal, sweep, snapshot, state, projection, parked IN ACCESS EXCLUSIVE MODE",
            settings(&options.schema)
        );
        session.execute(&begin).await.map_err(|error| connector.error(&error))?;
        let begun = async {
            for table in ["entity", "owner", "journal", "snapshot", "state", "projection", "parked"] {
                let sql = format!("SELECT EXISTS(SELECT 1 FROM {table})");
                if all(session.client(), &sql, &[]).await?[0].get(0) {
                    let place = format!("schema {} of {}", options.schema, connector.place());
                    return Err(AdminError::NotEmpty { place, found: format!("rows in table {table}") }.into());
                }
            }
            let rows = all(session.client(), "SELECT pg_current_xact_id()::text::bigint", &[]).await?;
            Ok::<i64, Stop>(rows[0].get(0))
        };
        let tx = begun.await.map_err(|stop| stop.at(connector.place()))?;
        Ok(Self {
            offsets: Offsets::new(number(identity.generation.into()) as u32, number(tx)),
            connector,
            session,
            copying: Copying::default(),
        })
    }

    async fn take_one(&mut self, record: Record) -> Result<(), Stop> {
        match record {
            Record::Places(places) => Ok(self.offsets.begin(places.events)?),
            Record::Projection(projection) => self.projection(&projection).await,
            Record::Parked(parked) => self.parked(&parked).await,
            Record::Owner(owner) => self.owner(&owner).await,
            Record::Entity(entity) => self.entity(&entity).await,
            Record::Event(event) => self.event(&event).await,
            Record::Snapshot(snapshot) => self.snapshot(&snapshot).await,
            Record::State(state) => self.state(&state).await,
        }
    }

    async fn copy(&mut self, table: Table, row: &[&(dyn ToSql + Sync)]) -> Result<(), Stop> {
        self.copying.row(self.session.client(), table, row).await
    }

    async fn owner(&mut self, owner: &OwnerRecord) -> Result<(), Stop> {
        if owner.shard >= SLICES {
            return Err(wrong(format!("owner: shard is {}, but must be below {SLICES}", owner.shard)));
        }
        let (epoch, epoch_max) = (clamped(owner.epoch), clamped(owner.entity_epoch_max));
        self.copy(Table::Owner, &[&owner.entity_type, &i32::from(owner.shard), &epoch, &epoch_max, &owner.owner]).await
    }

    /// The highest number is noted always: with it a lost tail shows.
    async fn entity(&mut self, entity: &EntityRecord) -> Result<(), Stop> {
        let id = id(&entity.id)?;
        let (epoch, highest) = (clamped(entity.epoch), clamped(entity.highest_seq));
        self.copy(
            Table::Entity,
            &[&entity.id, &id.entity_type(), &i32::from(id.slice()), &epoch, &highest, &clamped(entity.deleted_to)],
        )
        .await
    }

    async fn event(&mut self, event: &EventRecord) -> Result<(), Stop> {
        let id = id(&event.id)?;
        let (generation, tx, ordering) = columns(self.offsets.event(event.offset)?);
        let tx = TransactionId(tx);
        let batch_id = event.batch_id.map(u128::to_be_bytes);
        let meta = event.meta.as_deref();
        let checked = Checked {
            id: &id,
            seq_nr: clamped(event.seq_nr),
            epoch: clamped(event.epoch),
            time_ms: clamped(event.time_ms),
            batch_id: batch_id.as_ref().map(|id| &id[..]),
            manifest: &event.manifest,
            payload: &event.payload,
            meta,
        };
        self.copy(
            Table::Journal,
            &[
                &event.id,
                &checked.seq_nr,
                &i32::from(id.slice()),
                &id.entity_type(),
                &checked.epoch,
                &event.batch_id.map(BatchId),
                &generation,
                &tx,
                &ordering,
                &checked.time_ms,
                &event.manifest,
                &checked.payload,
                &meta,
                &checked.crc(),
                &event.tags,
            ],
        )
        .await
    }

    async fn snapshot(&mut self, snapshot: &SnapshotRecord) -> Result<(), Stop> {
        let id = id(&snapshot.id)?;
        let meta = snapshot.meta.as_deref();
        let checked = Checked {
            id: &id,
            seq_nr: clamped(snapshot.seq_nr),
            epoch: clamped(snapshot.epoch),
            time_ms: clamped(snapshot.time_ms),
            batch_id: None,
            manifest: &snapshot.manifest,
            payload: &snapshot.payload,
            meta,
        };
        self.copy(
            Table::Snapshot,
            &[
                &snapshot.id,
                &checked.seq_nr,
                &checked.epoch,
                &checked.time_ms,
                &snapshot.manifest,
                &checked.payload,
                &meta,
                &checked.crc(),
            ],
        )
        .await
    }

    async fn state(&mut self, state: &StateRecord) -> Result<(), Stop> {
        let id = id(&state.id)?;
        if state.manifest.is_some() != state.payload.is_some() {
            return Err(wrong(format!("state of {}: manifest and payload go together", state.id)));
        }
        let Some(batch_id) = state.batch_id else {
            return Err(wrong(format!("state of {}: batch_id is missing", state.id)));
        };
        let (generation, tx, ordering) = columns(self.offsets.state(state.offset)?);
        let tx = TransactionId(tx);
        let (payload, meta) = (state.payload.as_deref(), state.meta.as_deref());
        let checked = CheckedState {
            id: &id,
            revision: clamped(state.revision),
            epoch: clamped(state.epoch),
            change: 0, // the server numbers changes
            batch_id: &batch_id.to_be_bytes(),
            time_ms: clamped(state.time_ms),
            manifest: state.manifest.as_deref(),
            payload,
            meta,
        };
        let row: [&(dyn ToSql + Sync); 15] = [
            &state.id,
            &i32::from(id.slice()),
            &id.entity_type(),
            &checked.revision,
            &checked.epoch,
            &BatchId(batch_id),
            &generation,
            &tx,
            &ordering,
            &checked.time_ms,
            &state.manifest,
            &payload,
            &meta,
            &checked.crc(),
            &state.tag,
        ];
        self.copy(Table::State, &row).await
    }

    async fn projection(&mut self, projection: &ProjectionRecord) -> Result<(), Stop> {
        let (generation, tx, ordering) = columns(self.offsets.of(&projection.source, projection.offset));
        let epoch = clamped(projection.epoch);
        self.copy(
            Table::Projection,
            &[&projection.group, &projection.source, &epoch, &generation, &tx, &ordering, &projection.paused],
        )
        .await
    }

    async fn parked(&mut self, parked: &ParkedRecord) -> Result<(), Stop> {
        let (generation, tx, ordering) = columns(self.offsets.of(&parked.source, parked.offset));
        self.copy(
            Table::Parked,
            &[
                &parked.group,
                &parked.source,
                &generation,
                &tx,
                &ordering,
                &parked.id,
                &clamped(parked.seq_nr),
                &i64::from(parked.attempts),
                &parked.reason,
                &clamped(parked.time_ms),
                &parked.replay,
            ],
        )
        .await
    }

    /// Sees to it that nothing is given out again.
    async fn end(&mut self) -> Result<(), Stop> {
        self.copying.end().await?;
        let client = self.session.client();
        let numbers = "
            SELECT setval(pg_get_serial_sequence('journal', 'ordering'), GREATEST(max(ordering), $1, 1)) FROM journal
            UNION ALL SELECT setval('state_ordering', GREATEST(max(ordering), 1)) FROM state";
        all(client, numbers, &[(&clamped(self.offsets.end()), Type::INT8)]).await?;
        let generation = i64::from(self.offsets.generation());
        let noted = "UPDATE meta SET value = $1::text WHERE key = 'generation'";
        all(client, noted, &[(&generation.to_string(), Type::TEXT)]).await?;
        Ok(())
    }

    async fn finish_here(&mut self, progress: &Progress, findings: mpsc::Sender<Finding>) -> Result<Totals, Stop> {
        self.end().await?;
        let totals = check::sound(self.session.client(), progress, findings).await?;
        if let Err(error) = self.session.execute("COMMIT").await {
            let place = self.connector.place().to_owned();
            let reason = format!("the commit at the end was not answered ({error}): all of it is there, or nothing");
            return Err(AdminError::Failed { place, reason }.into());
        }
        // Only a help for plans to come.
        let _ = self.session.execute(&format!("ANALYZE \"{}\".journal", self.connector.options().schema)).await;
        Ok(totals)
    }
}

impl StoreImport for PostgresImport {
    fn take(&mut self, records: Vec<Record>) -> BoxFuture<'_, Result<(), AdminError>> {
        async move {
            for record in records {
                self.take_one(record).await.map_err(|stop| stop.at(self.connector.place()))?;
            }
            // So that what is wrong is said of these records and no later ones.
            self.copying.end().await.map_err(|stop| stop.at(self.connector.place()))
        }
        .boxed()
    }

    fn finish(
        mut self: Box<Self>,
        progress: Progress,
        findings: mpsc::Sender<Finding>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>> {
        async move {
            let (clock, place) = (self.connector.clock().clone(), self.connector.place().to_owned());
            let done = wanted(&clock, &progress, self.finish_here(&progress, findings)).await;
            done.map_err(|stop| stop.at(&place))
        }
        .boxed()
    }
}

fn columns(offset: Offset) -> (i32, i64, i64) {
    (i32::try_from(offset.generation()).unwrap_or(i32::MAX), clamped(offset.tx()), clamped(offset.ordering()))
}

fn id(text: &str) -> Result<PersistenceId, Stop> {
    PersistenceId::parse(text).ok_or_else(|| wrong(format!("id is {text:?}, but must be type|entity")))
}

fn wrong(reason: String) -> Stop {
    AdminError::Import(reason).into()
}

/// What the server says against a row is said of what is imported.
pub(super) fn explain(error: tokio_postgres::Error) -> Stop {
    match error.as_db_error() {
        Some(said) => {
            let detail = said.detail().map_or(String::new(), |detail| format!(" ({detail})"));
            wrong(format!("{}{detail}", said.message()))
        }
        None => error.into(),
    }
}
