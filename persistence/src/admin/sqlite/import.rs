//! [`SqliteImport`]: a store folder made of records, or of a copy.

use super::{SqliteAdmin, Stop, backup, blocking, sound_copy};
use crate::{
    Offset, PersistenceId, SLICES,
    admin::{
        AdminError, EntityRecord, EventRecord, Finding, OwnerRecord, ParkedRecord, Progress, ProjectionRecord, Record,
        SnapshotRecord, StateRecord, StoreImport, Totals, UnfinishedFile, place, places::Places,
    },
    checksum::{Checked, CheckedState},
    projection::{FeedKind, parse_source},
    sqlite::{Cache, NameTable, StoreLock, Transaction, clamped, create_unsynced},
};
use futures_util::FutureExt;
use rusqlite::{Connection, ErrorCode, params};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// A store that is being made in a folder. The folder is locked meanwhile, and removed again if it was made for a store
/// that did not come to be. A crash leaves an unfinished file, which is no store and which the next attempt removes.
pub struct SqliteImport {
    filling: Option<Filling>, // handed to a thread and back
    file: UnfinishedFile,
    site: Site, // last: it goes when nothing is in it any more
}

/// The new database, in one transaction.
struct Filling {
    db: Connection,
    cache: Cache,
    places: Places,
    projections: Vec<ProjectionRecord>,
    parked: Vec<ParkedRecord>,
}

impl SqliteImport {
    /// Begins in `folder`, which is made if need be. Blocks for milliseconds.
    ///
    /// # Errors
    /// [`AdminError::NotEmpty`] when anything is in it, [`AdminError::Open`] when it cannot be written or locked.
    pub fn begin(folder: impl AsRef<Path>) -> Result<Self, AdminError> {
        let folder = folder.as_ref();
        refuse_contents(folder)?;
        let site = Site::take(folder)?;
        // Again, now that nobody else can put anything there.
        refuse_contents(folder)?;
        remove_unfinished(folder)?;
        let file = UnfinishedFile::begin(folder.join(place::DATABASE))?;
        Ok(Self { filling: None, file, site })
    }

    /// Puts what was [copied](Self::copy) in its place, durably, without looking whether it is sound.
    ///
    /// # Errors
    /// When what was copied is no store at all, or cannot be put there.
    pub async fn finish_unchecked(self) -> Result<(), AdminError> {
        let Self { file, site, .. } = self;
        blocking(move || {
            SqliteAdmin::opened(file.path().to_owned(), true)?;
            site.publish(file)
        })
        .await
    }

    /// Takes everything `from` holds, instead of records.
    ///
    /// # Errors
    /// As [`SqliteAdmin::backup`].
    pub async fn copy(&mut self, from: &SqliteAdmin, progress: Progress) -> Result<(), AdminError> {
        let file = self.file.path().to_owned();
        let watched = progress.clone();
        from.run(progress, move |db, _| backup::copy(db, &file, &watched)).await
    }

    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Filling) -> Result<T, Stop> + Send + 'static,
    ) -> Result<T, AdminError> {
        let filling = self.filling.take();
        let path = self.file.path().to_owned();
        let done = tokio::task::spawn_blocking(move || {
            let mut filling = match filling {
                Some(filling) => filling,
                None => Filling::begin(&path)?,
            };
            let done = work(&mut filling)?;
            Ok((filling, done))
        });
        let failed = |reason| AdminError::Failed { place: self.file.path().display().to_string(), reason };
        match done.await {
            Ok(Ok((filling, done))) => {
                self.filling = Some(filling);
                Ok(done)
            }
            Ok(Err(Stop::Sqlite(error))) => Err(failed(error.to_string())),
            Ok(Err(Stop::Because(error))) => Err(error),
            Err(panic) => Err(failed(panic.to_string())),
        }
    }
}

impl StoreImport for SqliteImport {
    fn take(&mut self, records: Vec<Record>) -> crate::BoxFuture<'_, Result<(), AdminError>> {
        self.blocking(move |filling| records.into_iter().try_for_each(|record| filling.take(record))).boxed()
    }

    fn finish(
        mut self: Box<Self>,
        progress: Progress,
        findings: mpsc::Sender<Finding>,
    ) -> crate::BoxFuture<'static, Result<Totals, AdminError>> {
        async move {
            // A copy is complete as it is.
            if self.filling.is_some() || !self.file.path().exists() {
                self.blocking(Filling::end).await?;
                self.filling = None;
            }
            let Self { site, file, .. } = *self;
            let totals = sound_copy(file.path(), progress, findings).await?;
            blocking(move || site.publish(file)).await?;
            Ok(totals)
        }
        .boxed()
    }
}

impl Filling {
    fn begin(path: &Path) -> Result<Self, AdminError> {
        let db = create_unsynced(path)?;
        let begun = db.execute_batch("BEGIN");
        begun.map_err(|error| AdminError::Failed { place: path.display().to_string(), reason: error.to_string() })?;
        Ok(Self { db, cache: Cache::default(), places: Places::default(), projections: Vec::new(), parked: Vec::new() })
    }

    fn take(&mut self, record: Record) -> Result<(), Stop> {
        match record {
            Record::Places(places) => {
                self.places.begin(places.events);
                Ok(())
            }
            Record::Owner(owner) => self.owner(&owner),
            Record::Projection(projection) => {
                self.places.want(feed_kind(&projection.source), projection.offset);
                self.projections.push(projection);
                Ok(())
            }
            Record::Parked(parked) => {
                self.places.want(feed_kind(&parked.source), parked.offset);
                self.parked.push(parked);
                Ok(())
            }
            Record::Entity(entity) => self.entity(&entity),
            Record::Event(event) => self.event(&event),
            Record::Snapshot(snapshot) => self.snapshot(&snapshot),
            Record::State(state) => self.state(&state),
        }
    }

    /// Stores what had to wait for the events' places.
    fn end(&mut self) -> Result<(), Stop> {
        for ProjectionRecord { group, source, epoch, offset, paused } in &self.projections {
            let (generation, tx, position) = columns(self.places.of(feed_kind(source), *offset).offset);
            self.db
                .prepare_cached(
                    "INSERT INTO projection(consumer_group, source, epoch, generation, tx, position, paused)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![group, source, clamped(*epoch), generation, tx, position, paused])
                .map_err(|error| twice(error, || format!("projection {group} of {source}")))?;
        }
        for parked in &self.parked {
            let place = self.places.of(feed_kind(&parked.source), parked.offset);
            // Its event is gone, and so is what could be done about it.
            if !place.exact {
                continue;
            }
            let (generation, tx, position) = columns(place.offset);
            let stored = self
                .db
                .prepare_cached(
                    "INSERT INTO parked(projection, generation, tx, position, persistence_id, seq_nr, attempts, reason,
                       time_ms, replay)
                     SELECT id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 FROM projection
                     WHERE consumer_group = ?1 AND source = ?2",
                )?
                .execute(params![
                    parked.group,
                    parked.source,
                    generation,
                    tx,
                    position,
                    parked.id,
                    clamped(parked.seq_nr),
                    parked.attempts,
                    parked.reason,
                    clamped(parked.time_ms),
                    parked.replay
                ])
                .map_err(|error| twice(error, || format!("parked event {} #{}", parked.id, parked.seq_nr)))?;
            if stored == 0 {
                return Err(wrong(format!(
                    "parked event of {} of {}, of which there is no projection",
                    parked.group, parked.source
                )));
            }
        }
        let end = clamped(self.places.end());
        let raised = self.db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'journal'", [end])?;
        if raised == 0 {
            self.db.execute("INSERT INTO sqlite_sequence(name, seq) VALUES ('journal', ?1)", [end])?;
        }
        Ok(self.db.execute_batch("COMMIT")?)
    }

    fn transaction(&mut self) -> Transaction<'_> {
        Transaction {
            db: &self.db,
            cache: &mut self.cache,
            payload_bytes_max: usize::MAX,
            events: 0,
            states: 0,
            dirty: false,
        }
    }

    fn name(&mut self, table: NameTable, name: &str) -> rusqlite::Result<i64> {
        self.transaction().name(table, &Arc::from(name))
    }

    /// The entity's number and name.
    fn known(&mut self, text: &str, what: &str) -> Result<(i64, PersistenceId), Stop> {
        let id = id(text)?;
        match self.transaction().entity(&id)? {
            Some(row) => Ok((row.pid, id)),
            None => Err(wrong(format!("{what} of {text} comes before its entity"))),
        }
    }

    fn owner(&mut self, owner: &OwnerRecord) -> Result<(), Stop> {
        if owner.shard >= SLICES {
            return Err(wrong(format!("owner: shard is {}, but must be below {SLICES}", owner.shard)));
        }
        self.db
            .prepare_cached(
                "INSERT INTO owner(entity_type, shard, epoch, entity_epoch_max, owner) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                owner.entity_type,
                owner.shard,
                clamped(owner.epoch),
                clamped(owner.entity_epoch_max),
                owner.owner
            ])
            .map_err(|error| twice(error, || format!("owner of shard {} of {}", owner.shard, owner.entity_type)))?;
        Ok(())
    }

    /// The highest number is noted always: with it a lost tail shows.
    fn entity(&mut self, entity: &EntityRecord) -> Result<(), Stop> {
        let id = id(&entity.id)?;
        self.db
            .prepare_cached(
                "INSERT INTO entity(persistence_id, entity_type, slice, epoch, highest_seq, deleted_to)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                id.as_str(),
                id.entity_type(),
                id.slice(),
                clamped(entity.epoch),
                clamped(entity.highest_seq),
                clamped(entity.deleted_to)
            ])
            .map_err(|error| twice(error, || format!("entity {}", entity.id)))?;
        Ok(())
    }

    fn event(&mut self, event: &EventRecord) -> Result<(), Stop> {
        let (pid, id) = self.known(&event.id, "event")?;
        let manifest = self.name(NameTable::Manifest, &event.manifest)?;
        let ordering = clamped(self.places.event(event.offset)?);
        let batch_id = event.batch_id.map(u128::to_be_bytes);
        let checked = Checked {
            id: &id,
            seq_nr: clamped(event.seq_nr),
            epoch: clamped(event.epoch),
            time_ms: clamped(event.time_ms),
            batch_id: batch_id.as_ref().map(|id| &id[..]),
            manifest: &event.manifest,
            payload: &event.payload,
            meta: event.meta.as_deref(),
        };
        self.db
            .prepare_cached(
                "INSERT INTO journal(ordering, pid, seq_nr, epoch, batch_id, time_ms, manifest, payload, meta, crc)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                ordering,
                pid,
                checked.seq_nr,
                checked.epoch,
                checked.batch_id,
                checked.time_ms,
                manifest,
                checked.payload,
                checked.meta,
                checked.crc()
            ])
            .map_err(|error| twice(error, || format!("event {} #{} or its offset", event.id, event.seq_nr)))?;
        for tag in &event.tags {
            let tag = self.name(NameTable::Tag, tag)?;
            self.db
                .prepare_cached("INSERT OR IGNORE INTO journal_tag(tag, ordering) VALUES (?1, ?2)")?
                .execute([tag, ordering])?;
        }
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &SnapshotRecord) -> Result<(), Stop> {
        let (pid, id) = self.known(&snapshot.id, "snapshot")?;
        let manifest = self.name(NameTable::Manifest, &snapshot.manifest)?;
        let checked = Checked {
            id: &id,
            seq_nr: clamped(snapshot.seq_nr),
            epoch: clamped(snapshot.epoch),
            time_ms: clamped(snapshot.time_ms),
            batch_id: None,
            manifest: &snapshot.manifest,
            payload: &snapshot.payload,
            meta: snapshot.meta.as_deref(),
        };
        self.db
            .prepare_cached(
                "INSERT INTO snapshot(pid, seq_nr, epoch, time_ms, manifest, payload, meta, crc)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                pid,
                checked.seq_nr,
                checked.epoch,
                checked.time_ms,
                manifest,
                checked.payload,
                checked.meta,
                checked.crc()
            ])
            .map_err(|error| twice(error, || format!("snapshot {} #{}", snapshot.id, snapshot.seq_nr)))?;
        Ok(())
    }

    fn state(&mut self, state: &StateRecord) -> Result<(), Stop> {
        let (pid, id) = self.known(&state.id, "state")?;
        if state.manifest.is_some() != state.payload.is_some() {
            return Err(wrong(format!("state of {}: manifest and payload go together", state.id)));
        }
        let Some(batch_id) = state.batch_id.map(u128::to_be_bytes) else {
            return Err(wrong(format!("state of {}: batch_id is missing", state.id)));
        };
        let manifest = state.manifest.as_deref().map(|name| self.name(NameTable::Manifest, name)).transpose()?;
        let checked = CheckedState {
            id: &id,
            revision: clamped(state.revision),
            epoch: clamped(state.epoch),
            change: clamped(self.places.state(state.offset)?),
            batch_id: &batch_id,
            time_ms: clamped(state.time_ms),
            manifest: state.manifest.as_deref(),
            payload: state.payload.as_deref(),
            meta: state.meta.as_deref(),
        };
        self.db
            .prepare_cached(
                "INSERT INTO state(pid, revision, epoch, change, batch_id, time_ms, manifest, payload, meta, crc, tag)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                pid,
                checked.revision,
                checked.epoch,
                checked.change,
                checked.batch_id,
                checked.time_ms,
                manifest,
                checked.payload,
                checked.meta,
                checked.crc(),
                state.tag
            ])
            .map_err(|error| twice(error, || format!("state of {} or its offset", state.id)))?;
        Ok(())
    }
}

/// The folder of a store that is to be, locked. Unless the store comes to be, it is left as it was found.
struct Site {
    lock: Option<StoreLock>,
    /// Folders that were not there, the innermost first.
    made: Vec<PathBuf>,
    lock_made: bool,
}

impl Site {
    fn take(folder: &Path) -> Result<Self, AdminError> {
        let missing = folder.ancestors().take_while(|it| !it.as_os_str().is_empty() && fs::metadata(it).is_err());
        let (made, lock_made) = (missing.map(Path::to_owned).collect(), !folder.join("store.lock").exists());
        Ok(Self { lock: Some(StoreLock::acquire(folder)?), made, lock_made })
    }

    fn publish(mut self, file: UnfinishedFile) -> Result<(), AdminError> {
        let published = file.publish();
        if published.is_ok() {
            self.lock = None;
        }
        published
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        if self.lock_made {
            lock.remove();
        }
        // What is not empty stays: somebody has put something there.
        let _ = self.made.iter().try_for_each(fs::remove_dir);
    }
}

/// What imports that were killed have left.
fn remove_unfinished(folder: &Path) -> Result<(), AdminError> {
    let failed = |error: std::io::Error| place::failed(folder, &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if is_unfinished(&entry.file_name()) {
            fs::remove_file(entry.path()).map_err(|error| place::failed(&entry.path(), &error))?;
        }
    }
    Ok(())
}

fn is_unfinished(name: &OsStr) -> bool {
    let rest = name.to_str().and_then(|name| name.strip_prefix(place::DATABASE));
    rest.is_some_and(|rest| rest.starts_with(place::UNFINISHED))
}

fn refuse_contents(folder: &Path) -> Result<(), AdminError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) }; // opening says what is wrong with it
    let ours = |name: &OsStr| name == "store.lock" || is_unfinished(name);
    match entries.flatten().find(|entry| !ours(&entry.file_name())) {
        Some(entry) => Err(AdminError::NotEmpty {
            place: folder.display().to_string(),
            found: entry.file_name().to_string_lossy().into_owned(),
        }),
        None => Ok(()),
    }
}

/// What is read by a source that says it of nothing is as good as events.
fn feed_kind(source: &str) -> FeedKind {
    parse_source(source).map_or(FeedKind::Events, |(_, kind)| kind)
}

fn columns(offset: Offset) -> (u32, i64, i64) {
    (offset.generation(), clamped(offset.tx()), clamped(offset.ordering()))
}

fn id(text: &str) -> Result<PersistenceId, Stop> {
    PersistenceId::parse(text).ok_or_else(|| wrong(format!("id is {text:?}, but must be type|entity")))
}

fn wrong(reason: String) -> Stop {
    AdminError::Import(reason).into()
}

fn twice(error: rusqlite::Error, what: impl FnOnce() -> String) -> Stop {
    if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
        return wrong(format!("{} is there twice", what()));
    }
    error.into()
}
