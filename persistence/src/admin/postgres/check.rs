//! Looks at every row of the tables. Events come by entity, so that one log at a time has to be remembered.

use super::{Stop, count, next, number, offset, rows, stream};
use crate::{
    Offset, PersistenceId, SLICES,
    admin::{
        AdminError, Finding, Progress, Subject, Totals,
        sound::{Claimed, Log},
    },
    projection::{FeedKind, parse_source},
};
use std::pin::pin;
use tokio::sync::mpsc::Sender;
use tokio_postgres::{Client, Row};

/// Rows between two looks at the progress.
const STRIDE: u64 = 1_000;

/// The epoch that a write must carry now.
const CURRENT_EPOCH: &str = "GREATEST(e.epoch, coalesce(o.epoch, 0))";
const OWNER: &str = "LEFT JOIN owner o ON o.entity_type = e.entity_type AND o.shard = e.slice";

/// `client` is in a transaction that sees one moment.
pub(super) async fn check(client: &Client, progress: &Progress, findings: &Sender<Finding>) -> Result<Totals, Stop> {
    let mut check = Check { client, progress, findings, totals: Totals::default() };
    check.entities().await?;
    check.snapshots().await?;
    check.states().await?;
    check.owners().await?;
    check.consumers().await?;
    check.events().await?;
    Ok(check.totals)
}

/// As [`check`], for what is to be a store again: one with findings is none, warnings apart. They are sent all the same.
pub(super) async fn sound(client: &Client, progress: &Progress, findings: Sender<Finding>) -> Result<Totals, Stop> {
    let (sender, mut found) = tokio::sync::mpsc::channel::<Finding>(64);
    let checked = async {
        let totals = check(client, progress, &sender).await;
        drop(sender);
        totals
    };
    let forward = async {
        let mut count = 0;
        while let Some(finding) = found.recv().await {
            count += u64::from(!finding.warning);
            // Whoever looks no more at them is told their number all the same.
            let _ = findings.send(finding).await;
        }
        count
    };
    let (totals, count) = futures_util::join!(checked, forward);
    let totals = totals?;
    if count > 0 { Err(AdminError::Unsound { findings: count }.into()) } else { Ok(totals) }
}

struct Check<'a> {
    client: &'a Client,
    progress: &'a Progress,
    findings: &'a Sender<Finding>,
    totals: Totals,
}

impl Check<'_> {
    async fn tell(&self, finding: Finding) -> Result<(), Stop> {
        self.findings.send(finding).await.map_err(|_| AdminError::Cancelled.into())
    }

    async fn begin(&self, stage: &'static str, table: &str) -> Result<(), Stop> {
        self.progress.begin(stage, count(self.client, &format!("SELECT count(*) FROM {table}")).await?);
        Ok(())
    }

    fn looked_at(&self, rows: u64) {
        if rows.is_multiple_of(STRIDE) {
            self.progress.set(rows);
        }
    }

    async fn entities(&mut self) -> Result<(), Stop> {
        self.begin("entities", "entity").await?;
        let sql = format!(
            "SELECT e.persistence_id, e.entity_type, e.slice, e.epoch, coalesce(o.entity_epoch_max, 0), e.deleted_to,
               e.highest_seq, EXISTS(SELECT 1 FROM journal j WHERE j.persistence_id = e.persistence_id),
               EXISTS(SELECT 1 FROM snapshot s WHERE s.persistence_id = e.persistence_id AND s.seq_nr >= e.deleted_to)
             FROM entity e {OWNER}"
        );
        let mut rows = pin!(stream(self.client, &sql).await?);
        while let Some(row) = next(&mut rows).await? {
            self.totals.entities += 1;
            self.looked_at(self.totals.entities);
            for finding in entity_findings(&row) {
                self.tell(finding).await?;
            }
        }
        let sql = "SELECT s.persistence_id FROM sweep s LEFT JOIN entity e USING (persistence_id)
                   WHERE e.persistence_id IS NULL";
        let mut rows = pin!(stream(self.client, sql).await?);
        while let Some(row) = next(&mut rows).await? {
            let reason = "is to have events removed, but is missing";
            self.tell(Finding::new(Subject::Entity, row.get::<_, String>(0), reason).in_row("sweep")).await?;
        }
        Ok(())
    }

    async fn snapshots(&mut self) -> Result<(), Stop> {
        self.begin("snapshots", "snapshot").await?;
        let sql = format!(
            "SELECT {}, e.persistence_id IS NULL, coalesce({CURRENT_EPOCH}, 0), GREATEST(coalesce(e.highest_seq, 0),
               coalesce((SELECT max(j.seq_nr) FROM journal j WHERE j.persistence_id = s.persistence_id), 0))
             FROM snapshot s LEFT JOIN entity e USING (persistence_id) {OWNER}",
            rows::SNAPSHOT_COLUMNS
        );
        let mut rows = pin!(stream(self.client, &sql).await?);
        while let Some(row) = next(&mut rows).await? {
            self.totals.snapshots += 1;
            self.looked_at(self.totals.snapshots);
            let snapshot = match rows::snapshot(&row)? {
                Ok(snapshot) => snapshot,
                Err(finding) => {
                    self.tell(finding).await?;
                    continue;
                }
            };
            let (lost, epoch, highest): (bool, i64, i64) = (row.get(9), row.get(10), row.get(11));
            let finding =
                |reason: String| Finding::new(Subject::Snapshot, &*snapshot.id, reason).at(snapshot.seq_nr, "");
            if lost {
                self.tell(finding("its entity is missing".into())).await?;
            } else if snapshot.epoch > number(epoch) {
                self.tell(finding(never_claimed(snapshot.epoch, number(epoch)))).await?;
            }
            if snapshot.seq_nr > number(highest) {
                self.tell(finding(format!("is ahead of the events, the highest of which is {highest}"))).await?;
            }
        }
        Ok(())
    }

    async fn states(&mut self) -> Result<(), Stop> {
        self.begin("states", "state").await?;
        let sql = format!(
            "SELECT {}, e.persistence_id IS NULL, coalesce({CURRENT_EPOCH}, 0)
             FROM state s LEFT JOIN entity e USING (persistence_id) {OWNER}",
            rows::STATE_COLUMNS
        );
        let mut rows = pin!(stream(self.client, &sql).await?);
        while let Some(row) = next(&mut rows).await? {
            self.totals.states += 1;
            self.looked_at(self.totals.states);
            let (lost, epoch): (bool, i64) = (row.get(13), row.get(14));
            match rows::state_record(&row)? {
                Err(finding) => self.tell(finding).await?,
                Ok(state) => {
                    let reason = if lost {
                        "its entity is missing".to_owned()
                    } else if state.epoch > number(epoch) {
                        never_claimed(state.epoch, number(epoch))
                    } else {
                        continue;
                    };
                    self.tell(Finding::new(Subject::State, state.id, reason).at(state.revision, "")).await?;
                }
            }
        }
        Ok(())
    }

    async fn owners(&mut self) -> Result<(), Stop> {
        self.begin("owners", "owner").await?;
        let mut rows = pin!(stream(self.client, "SELECT entity_type, shard FROM owner").await?);
        while let Some(row) = next(&mut rows).await? {
            self.totals.owners += 1;
            let shard: i32 = row.get(1);
            if !(0..i32::from(SLICES)).contains(&shard) {
                let reason = format!("there is no shard {shard}");
                self.tell(Finding::new(Subject::Owner, row.get::<_, String>(0), reason)).await?;
            }
        }
        Ok(())
    }

    async fn consumers(&mut self) -> Result<(), Stop> {
        self.begin("projections", "projection").await?;
        let sql = "
            SELECT p.consumer_group, p.source, p.generation,
              coalesce((SELECT value FROM meta WHERE key = 'generation'), '0')::int FROM projection p";
        let mut rows = pin!(stream(self.client, sql).await?);
        while let Some(row) = next(&mut rows).await? {
            self.totals.projections += 1;
            let (generation, current): (i32, i32) = (row.get(2), row.get(3));
            if generation > current && parse_source(row.get(1)).is_some() {
                // Unless it reads another store.
                let reason = format!("is at an offset of generation {generation}, but the current one is {current}");
                self.tell(Finding::new(Subject::Projection, consumer(&row), reason).into_warning()).await?;
            }
        }
        self.begin("parked events", "parked").await?;
        let sql = "
            SELECT k.consumer_group, k.source, p.source IS NULL, k.persistence_id, k.seq_nr,
              k.generation > 0 AND (j.generation, j.tx::text::bigint, j.ordering) <> (k.generation, k.tx, k.ordering),
              k.generation > 0 AND (s.generation, s.tx::text::bigint, s.ordering) <> (k.generation, k.tx, k.ordering)
            FROM parked k LEFT JOIN projection p USING (consumer_group, source)
            LEFT JOIN journal j ON j.persistence_id = k.persistence_id AND j.seq_nr = k.seq_nr
            LEFT JOIN state s ON s.persistence_id = k.persistence_id AND s.revision = k.seq_nr";
        let mut rows = pin!(stream(self.client, sql).await?);
        while let Some(row) = next(&mut rows).await? {
            self.totals.parked += 1;
            let place = format!("{} #{}", row.get::<_, String>(3), row.get::<_, i64>(4));
            let finding = |reason: &str| Finding::new(Subject::Parked, consumer(&row), reason).in_row(&*place);
            if row.get(2) {
                self.tell(finding("its consumer is missing")).await?;
            }
            let (column, reason) = match parse_source(row.get(1)) {
                Some((_, FeedKind::Events)) => (5, "the event is at another offset"),
                Some((_, FeedKind::States)) => (6, "the state is at another offset"),
                None => continue, // whatever it reads, it is not in these tables
            };
            if row.get::<_, Option<bool>>(column) == Some(true) {
                self.tell(finding(reason)).await?;
            }
        }
        Ok(())
    }

    async fn events(&mut self) -> Result<(), Stop> {
        self.begin("events", "journal").await?;
        let sql = format!(
            "SELECT {}, e.persistence_id IS NULL, coalesce(e.deleted_to, 0), coalesce(e.highest_seq, 0),
               coalesce({CURRENT_EPOCH}, 0), e.entity_type IS DISTINCT FROM j.entity_type OR e.slice IS DISTINCT FROM j.slice
             FROM journal j LEFT JOIN entity e USING (persistence_id) {OWNER} ORDER BY j.persistence_id, j.seq_nr",
            rows::EVENT_COLUMNS
        );
        let mut rows = pin!(stream(self.client, &sql).await?);
        let mut log: Option<(String, Log, Offset)> = None;
        while let Some(row) = next(&mut rows).await? {
            self.totals.events += 1;
            self.looked_at(self.totals.events);
            let (id, seq_nr, epoch): (&str, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let at = offset(&row, 9);
            let finding = |reason: String| Finding::new(Subject::Event, id, reason).at(number(seq_nr), "");
            if log.as_ref().is_none_or(|(of, ..)| of != id) {
                self.finish(log.take()).await?;
                let claimed = Claimed {
                    deleted_to: number(row.get(14)),
                    highest: number(row.get(15)),
                    epoch: number(row.get(16)),
                };
                log = Some((id.to_owned(), Log::new(claimed), Offset::START));
            }
            if row.get(13) {
                self.tell(finding("its entity is missing".into())).await?;
                log = log
                    .map(|(of, _, before)| (of, Log::new(Claimed { epoch: u64::MAX, ..Claimed::default() }), before));
            } else if row.get(17) {
                self.tell(finding("type or slice are not those of its entity, so consumers miss it".into())).await?;
            }
            if let Err(damage) = rows::event(&row)? {
                self.tell(damage).await?;
            }
            if let Some((_, log, before)) = &mut log
                && !row.get::<_, bool>(13)
            {
                if let Some(reason) = log.event(number(seq_nr), number(epoch)) {
                    self.tell(finding(reason)).await?;
                }
                if at <= *before {
                    self.tell(finding("comes before its predecessor in commit order".into())).await?;
                }
                *before = at;
            }
        }
        self.finish(log).await
    }

    async fn finish(&self, log: Option<(String, Log, Offset)>) -> Result<(), Stop> {
        let Some((id, log, _)) = log else { return Ok(()) };
        for finding in log.finish() {
            self.tell(Finding { of: id.clone(), ..finding }).await?;
        }
        Ok(())
    }
}

fn entity_findings(row: &Row) -> Vec<Finding> {
    let (text, entity_type, slice): (&str, &str, i32) = (row.get(0), row.get(1), row.get(2));
    let finding = |reason: String| Finding::new(Subject::Entity, text, reason);
    let Some(id) = PersistenceId::parse(text) else { return vec![finding("its name has no '|'".into())] };
    let mut findings = Vec::new();
    if entity_type != id.entity_type() {
        findings.push(finding(format!("its type is stored as {entity_type:?}, so consumers do not see its events")));
    }
    if slice != i32::from(id.slice()) {
        let right = id.slice();
        findings.push(finding(format!(
            "its slice is stored as {slice}, but is {right}: its shard's epoch does not protect it"
        )));
    }
    let (epoch, epoch_max): (i64, i64) = (row.get(3), row.get(4));
    if epoch > epoch_max {
        findings.push(finding(format!("was claimed with epoch {epoch}, but its shard knows of {epoch_max} at most")));
    }
    let (deleted_to, highest): (i64, i64) = (row.get(5), row.get(6));
    let (has_events, has_snapshot): (bool, bool) = (row.get(7), row.get(8));
    if deleted_to > 0 && !has_snapshot {
        let reason = format!("events up to {deleted_to} are deleted and no snapshot holds what they did");
        findings.push(finding(reason).into_warning());
    }
    if !has_events {
        // Its log is not among those that are read, so that its end is looked at here.
        let log = Log::new(Claimed { deleted_to: number(deleted_to), highest: number(highest), epoch: u64::MAX });
        findings.extend(log.finish().into_iter().map(|found| Finding { of: text.to_owned(), ..found }));
    }
    findings
}

fn never_claimed(epoch: u64, current: u64) -> String {
    format!("has epoch {epoch}, but only {current} was ever claimed")
}

fn consumer(row: &Row) -> String {
    format!("{} of {}", row.get::<_, String>(0), row.get::<_, String>(1))
}
