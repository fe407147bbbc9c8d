//! Looks at every row of the database.
//!
//! Events are read in the order of the table, which is that of the disk. What has to be remembered of each entity meanwhile
//! is held for one window of entities; a store with more of them is read again for each further window, contents apart.

use super::{
    Stop, as_number, database_damage, go_on,
    rows::{EVENT_COLUMNS, SNAPSHOT_COLUMNS, STATE_COLUMNS, StateExtra, StoredRow},
};
use crate::{
    PersistenceId,
    admin::{
        AdminError, Finding, Progress, Subject, Totals,
        sound::{Claimed, Window},
    },
    projection::{FeedKind, parse_source},
};
use rusqlite::{Connection, Row};
use tokio::sync::mpsc::Sender;

/// Entities whose logs are followed at once: 10 MB.
const WINDOW: usize = 200_000;

/// Complaints of SQLite about its own pages; one bad page may cause thousands.
const COMPLAINTS_MAX: usize = 100;

/// Rows between two looks at the progress.
const STRIDE: u64 = 1_000;

pub(super) fn check(db: &Connection, progress: &Progress, findings: &Sender<Finding>) -> Result<Totals, Stop> {
    check_in_windows(db, progress, findings, WINDOW)
}

fn check_in_windows(
    db: &Connection,
    progress: &Progress,
    findings: &Sender<Finding>,
    window: usize,
) -> Result<Totals, Stop> {
    let mut check = Check { db, progress, findings, totals: Totals::default() };
    // Each part on its own: what SQLite cannot read of one must not hide the others.
    for part in
        [Check::pages, Check::entities, Check::tags, Check::snapshots, Check::states, Check::owners, Check::consumers]
    {
        let looked = part(&mut check);
        check.survive(looked)?;
    }
    let looked = check.events(window);
    check.survive(looked)?;
    Ok(check.totals)
}

struct Check<'a> {
    db: &'a Connection,
    progress: &'a Progress,
    findings: &'a Sender<Finding>,
    totals: Totals,
}

impl Check<'_> {
    fn tell(&self, finding: Finding) -> Result<(), Stop> {
        self.findings.blocking_send(finding).map_err(|_| AdminError::Cancelled.into())
    }

    /// What SQLite finds damaged is a finding; any other error ends the check.
    fn survive(&self, looked: Result<(), Stop>) -> Result<(), Stop> {
        match looked {
            Err(Stop::Sqlite(error)) => match database_damage(&error) {
                Some(finding) => self.tell(finding),
                None => Err(error.into()),
            },
            other => other,
        }
    }

    /// Calls `look` with each row, and keeps the progress.
    fn each(
        &mut self,
        stage: &'static str,
        table: &str,
        sql: &str,
        mut look: impl FnMut(&mut Self, &Row<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let count = if table.is_empty() {
            0
        } else {
            as_number(self.db.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0))?)
        };
        self.progress.begin(stage, count);
        go_on(self.progress)?;
        let mut statement = self.db.prepare(sql)?;
        let mut rows = statement.query(())?;
        let mut done = 0;
        while let Some(row) = rows.next()? {
            look(self, row)?;
            done += 1;
            if done % STRIDE == 0 {
                self.progress.set(done);
                go_on(self.progress)?;
            }
        }
        Ok(())
    }

    /// The pages of the file, and whether tables and indexes agree.
    fn pages(&mut self) -> Result<(), Stop> {
        self.progress.begin("pages", 0);
        let complaints = self.complaints()?;
        complaints.into_iter().try_for_each(|complaint| self.tell(Finding::new(Subject::Database, "", complaint)))
    }

    fn complaints(&self) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.db.prepare(&format!("PRAGMA integrity_check({COMPLAINTS_MAX})"))?;
        let lines: Vec<String> = statement.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let lines = lines.iter().flat_map(|text| text.lines()).map(str::trim);
        Ok(lines.filter(|line| !line.is_empty() && *line != "ok").map(str::to_owned).collect())
    }

    fn entities(&mut self) -> Result<(), Stop> {
        let sql = "
            SELECT e.persistence_id, e.entity_type, e.slice, e.epoch, coalesce(o.entity_epoch_max, 0), e.deleted_to,
              e.deleted_to > 0 AND NOT EXISTS(SELECT 1 FROM snapshot s WHERE s.pid = e.pid AND s.seq_nr >= e.deleted_to)
            FROM entity e LEFT JOIN owner o ON o.entity_type = e.entity_type AND o.shard = e.slice";
        self.each("entities", "entity", sql, |check, row| {
            check.totals.entities += 1;
            let text: String = row.get(0)?;
            let finding = |reason: String| check.tell(Finding::new(Subject::Entity, &*text, reason));
            let Some(id) = PersistenceId::parse(&text) else { return finding("its name has no '|'".into()) };
            let (entity_type, slice): (String, u16) = (row.get(1)?, row.get(2)?);
            if entity_type != id.entity_type() {
                finding(format!("its type is stored as {entity_type:?}, so consumers do not see its events"))?;
            }
            if slice != id.slice() {
                finding(format!(
                    "its slice is stored as {slice}, but is {}: its shard's epoch does not protect it",
                    id.slice()
                ))?;
            }
            let (epoch, epoch_max): (i64, i64) = (row.get(3)?, row.get(4)?);
            if epoch > epoch_max {
                finding(format!("was claimed with epoch {epoch}, but its shard knows of {epoch_max} at most"))?;
            }
            if row.get(6)? {
                let deleted_to: i64 = row.get(5)?;
                let reason = format!("events up to {deleted_to} are deleted and no snapshot holds what they did");
                check.tell(Finding::new(Subject::Entity, &*text, reason).into_warning())?;
            }
            Ok(())
        })?;
        self.each(
            "entities",
            "sweep",
            "SELECT s.pid FROM sweep s LEFT JOIN entity e USING (pid) WHERE e.pid IS NULL",
            |check, row| {
                let place = format!("sweep.pid {}", row.get::<_, i64>(0)?);
                check.tell(Finding::new(Subject::Entity, "", "is to have events removed, but is missing").in_row(place))
            },
        )
    }

    fn tags(&mut self) -> Result<(), Stop> {
        let sql = "
            SELECT k.ordering, t.name, k.tag, j.ordering IS NULL
            FROM journal_tag k LEFT JOIN journal j ON j.ordering = k.ordering LEFT JOIN tag t ON t.id = k.tag";
        self.each("tags", "journal_tag", sql, |check, row| {
            let place =
                || -> rusqlite::Result<String> { Ok(format!("journal_tag.ordering {}", row.get::<_, i64>(0)?)) };
            let name: Option<String> = row.get(1)?;
            if name.is_none() {
                let of = format!("number {}", row.get::<_, i64>(2)?);
                check.tell(Finding::new(Subject::Tag, of, "its name is missing").in_row(place()?))?;
            }
            if row.get(3)? {
                let of = name.unwrap_or_default();
                check.tell(Finding::new(Subject::Tag, of, "the event it marks is missing").in_row(place()?))?;
            }
            Ok(())
        })
    }

    fn snapshots(&mut self) -> Result<(), Stop> {
        let sql = format!(
            "SELECT {SNAPSHOT_COLUMNS}, {CURRENT_EPOCH},
               max(e.highest_seq, coalesce((SELECT max(j.seq_nr) FROM journal j WHERE j.pid = e.pid), 0))
             FROM snapshot s LEFT JOIN manifest m ON m.id = s.manifest LEFT JOIN entity e ON e.pid = s.pid {OWNER}"
        );
        self.each("snapshots", "snapshot", &sql, |check, row| {
            check.totals.snapshots += 1;
            let (epoch, highest) = (row.get::<_, Option<i64>>(11)?, row.get::<_, Option<i64>>(12)?);
            let snapshot = match StoredRow::read(row)?.into_snapshot() {
                Ok(snapshot) => snapshot,
                Err(finding) => return check.tell(finding),
            };
            let tell = |reason| {
                let place = format!("snapshot.rowid {}", row.get::<_, i64>(0)?);
                check.tell(Finding::new(Subject::Snapshot, &*snapshot.id, reason).at(snapshot.seq_nr, place))
            };
            let (epoch, highest) = (as_number(epoch.unwrap_or(0)), as_number(highest.unwrap_or(0)));
            if snapshot.seq_nr > highest {
                tell(format!("is ahead of the events, the highest of which is {highest}"))?;
            }
            if snapshot.epoch > epoch {
                tell(never_claimed(snapshot.epoch, epoch))?;
            }
            Ok(())
        })
    }

    fn states(&mut self) -> Result<(), Stop> {
        let sql = format!(
            "SELECT {STATE_COLUMNS}, {CURRENT_EPOCH}
             FROM state s LEFT JOIN manifest m ON m.id = s.manifest LEFT JOIN entity e ON e.pid = s.pid {OWNER}"
        );
        self.each("states", "state", &sql, |check, row| {
            check.totals.states += 1;
            let epoch = as_number(row.get::<_, Option<i64>>(13)?.unwrap_or(0));
            match StoredRow::read(row)?.into_state(StateExtra::read(row)?) {
                Ok(state) if state.epoch > epoch => {
                    let place = format!("state.change {}", state.offset);
                    let finding = Finding::new(Subject::State, state.id, never_claimed(state.epoch, epoch));
                    check.tell(finding.at(state.revision, place))
                }
                Ok(_) => Ok(()),
                Err(finding) => check.tell(finding),
            }
        })
    }

    fn owners(&mut self) -> Result<(), Stop> {
        self.each("owners", "owner", "SELECT entity_type, shard FROM owner", |check, row| {
            check.totals.owners += 1;
            let (entity_type, shard): (String, i64) = (row.get(0)?, row.get(1)?);
            if !(0..i64::from(crate::SLICES)).contains(&shard) {
                let reason = format!("there is no shard {shard}");
                return check.tell(Finding::new(Subject::Owner, entity_type, reason));
            }
            Ok(())
        })
    }

    fn consumers(&mut self) -> Result<(), Stop> {
        self.totals.projections =
            as_number(self.db.query_row("SELECT count(*) FROM projection", (), |row| row.get(0))?);
        let sql = "
            SELECT consumer_group, source, position,
              coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0),
              coalesce((SELECT max(change) FROM state), 0)
            FROM projection WHERE generation = 0 AND tx = 0";
        self.each("projections", "projection", sql, |check, row| {
            let (source, position): (String, i64) = (row.get(1)?, row.get(2)?);
            let end: i64 = match feed_kind(&source) {
                Some(FeedKind::Events) => row.get(3)?,
                Some(FeedKind::States) => row.get(4)?,
                None => return Ok(()), // whatever it reads, it is not in these tables
            };
            if position > end {
                let reason = format!("is at offset {position}, but none above {end} was ever given out");
                return check.tell(Finding::new(Subject::Projection, consumer(row)?, reason));
            }
            Ok(())
        })?;
        let sql = "
            SELECT coalesce(p.consumer_group, ''), coalesce(p.source, ''), k.position, p.id IS NULL, k.persistence_id, k.seq_nr,
              j.ordering IS NOT NULL AND (e.persistence_id IS NOT k.persistence_id OR j.seq_nr <> k.seq_nr),
              s.change IS NOT NULL AND (o.persistence_id IS NOT k.persistence_id OR s.revision <> k.seq_nr)
            FROM parked k LEFT JOIN projection p ON p.id = k.projection
            LEFT JOIN journal j ON j.ordering = k.position AND k.generation = 0 AND k.tx = 0 LEFT JOIN entity e ON e.pid = j.pid
            LEFT JOIN state s ON s.change = k.position AND k.generation = 0 AND k.tx = 0 LEFT JOIN entity o ON o.pid = s.pid";
        self.each("parked events", "parked", sql, |check, row| {
            check.totals.parked += 1;
            let place = format!("parked.position {}", row.get::<_, i64>(2)?);
            let tell =
                |of: String, reason: String| check.tell(Finding::new(Subject::Parked, of, reason).in_row(&*place));
            if row.get(3)? {
                return tell(String::new(), "its consumer is missing".into());
            }
            let (another, what) = match feed_kind(&row.get::<_, String>(1)?) {
                Some(FeedKind::Events) => (row.get(6)?, "event"),
                // One that was written since has moved on, and nothing takes its old place.
                Some(FeedKind::States) => (row.get(7)?, "state"),
                None => (false, ""),
            };
            if another {
                let (id, seq_nr): (String, i64) = (row.get(4)?, row.get(5)?);
                tell(consumer(row)?, format!("says it is {id} #{seq_nr}, but another {what} is there"))?;
            }
            Ok(())
        })
    }

    fn events(&mut self, window: usize) -> Result<(), Stop> {
        let highest: i64 = self.db.query_row("SELECT coalesce(max(pid), 0) FROM entity", (), |row| row.get(0))?;
        let lowest: i64 = self.db.query_row("SELECT coalesce(min(pid), 0) FROM entity", (), |row| row.get(0))?;
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM journal j LEFT JOIN entity e ON e.pid = j.pid
             LEFT JOIN manifest m ON m.id = j.manifest ORDER BY j.ordering"
        );
        let mut logs = self.window(lowest, window)?;
        self.each("events", "journal", &sql, |check, row| {
            check.totals.events += 1;
            let row = StoredRow::read(row)?;
            let wrong = logs.event(row.pid, as_number(row.seq_nr), as_number(row.epoch));
            let (pid, number) = (row.pid, row.number);
            match row.into_event() {
                Err(finding) => check.tell(finding)?,
                Ok(event) => {
                    if let Some(reason) = wrong {
                        check.tell(event_finding(event.id, number, event.seq_nr, reason))?;
                    }
                    return Ok(());
                }
            }
            wrong.map_or(Ok(()), |reason| check.tell(event_finding(check.name(pid)?, number, 0, reason)))
        })?;
        self.finish(logs)?;
        let mut first = lowest;
        while let Some(next) = first.checked_add_unsigned(window as u64).filter(|next| *next <= highest) {
            first = next;
            let mut logs = self.window(first, window)?;
            let sql = "SELECT ordering, pid, seq_nr, epoch FROM journal ORDER BY ordering";
            self.each("events", "journal", sql, |check, row| {
                let (pid, seq_nr) = (row.get(1)?, as_number(row.get(2)?));
                match logs.event(pid, seq_nr, as_number(row.get(3)?)) {
                    Some(reason) => check.tell(event_finding(check.name(pid)?, row.get(0)?, seq_nr, reason)),
                    None => Ok(()),
                }
            })?;
            self.finish(logs)?;
        }
        Ok(())
    }

    /// What the tables say of the entities from number `first` on.
    fn window(&mut self, first: i64, entities: usize) -> Result<Window, Stop> {
        let last = first.saturating_add_unsigned(entities as u64 - 1);
        let mut window = Window::new(first, entities);
        let sql = format!(
            "SELECT e.pid, e.deleted_to, e.highest_seq, {CURRENT_EPOCH} FROM entity e {OWNER}
             WHERE e.pid BETWEEN {first} AND {last}"
        );
        self.each("entities", "", &sql, |_, row| {
            let claimed = Claimed {
                deleted_to: as_number(row.get(1)?),
                highest: as_number(row.get(2)?),
                epoch: as_number(row.get(3)?),
            };
            window.add(row.get(0)?, claimed);
            Ok(())
        })?;
        Ok(window)
    }

    fn finish(&self, window: Window) -> Result<(), Stop> {
        window.finish().try_for_each(|(pid, finding)| self.tell(Finding { of: self.name(pid)?, ..finding }))
    }

    fn name(&self, pid: i64) -> rusqlite::Result<String> {
        let mut statement = self.db.prepare_cached("SELECT persistence_id FROM entity WHERE pid = ?1")?;
        statement.query_row([pid], |row| row.get(0))
    }
}

/// The epoch that a write must carry now.
const CURRENT_EPOCH: &str = "max(e.epoch, coalesce(o.epoch, 0))";
const OWNER: &str = "LEFT JOIN owner o ON o.entity_type = e.entity_type AND o.shard = e.slice";

fn never_claimed(epoch: u64, current: u64) -> String {
    format!("has epoch {epoch}, but only {current} was ever claimed")
}

fn event_finding(id: String, number: i64, seq_nr: u64, reason: String) -> Finding {
    Finding::new(Subject::Event, id, reason).at(seq_nr, format!("journal.ordering {number}"))
}

fn feed_kind(source: &str) -> Option<FeedKind> {
    parse_source(source).map(|(_, kind)| kind)
}

fn consumer(row: &Row<'_>) -> rusqlite::Result<String> {
    Ok(format!("{} of {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
}
