//! `info`, `entities`, `events`, `state`.

use actors::Clock;
use base64::prelude::{BASE64_STANDARD, Engine};
use persistence::admin::{EntityHead, EntityQuery, EventRecord, StoreInfo};
use persistence::{PersistenceId, ReplayLimit};
use serde_json::{Value, json};

use super::decode::Decoder;
use super::show::{Align, Table, ago, bytes, count, line, number, short, time};
use super::{EntitiesArgs, EventsArgs, InfoArgs, Opened, Out, StateArgs, StoreCommandError};
use crate::cli::Exit;

/// Entities read at once.
const ENTITIES_PAGE: usize = 1_000;

/// Columns of a list that is shown before its end is known.
const ENTITY_WIDTHS: [usize; 5] = [9, 10, 9, 9, 0];
const ENTITY_ALIGN: [Align; 5] = [Align::Right, Align::Right, Align::Right, Align::Right, Align::Left];

/// Characters of a payload in a list.
const PAYLOAD_SHOWN: usize = 200;

type Done = Result<Exit, StoreCommandError>;

pub(super) async fn info(store: &Opened, args: &InfoArgs, clock: &Clock, out: &mut Out) -> Done {
    let info = store.admin().info().await?;
    if args.json {
        out.json(&info)?;
    } else {
        out.text(info_text(&info, clock.wall_ms()))?;
    }
    Ok(Exit::Stopped)
}

fn info_text(info: &StoreInfo, now_ms: u64) -> String {
    let mut facts = Table::new(&[("store", Align::Left), (&info.place, Align::Left)]);
    let mut fact = |name: &str, value: String| facts.row(vec![name.to_owned(), value]);
    let generation = if info.generation > 0 { format!(", generation {}", info.generation) } else { String::new() };
    fact("kind", format!("{}, schema version {}{generation}", info.backend, info.schema_version));
    let sizes = &info.sizes;
    if info.backend == "sqlite" {
        fact("in use by", info.writer.map_or("no process".into(), |pid| format!("process {pid}")));
        let log = if sizes.log > 0 { format!(", log {}", bytes(sizes.log)) } else { String::new() };
        fact("size", format!("{}, of which {} free{log}", bytes(sizes.database), bytes(sizes.free)));
    } else {
        fact("size", bytes(sizes.database));
    }
    fact("entities", number(info.entities));
    fact("events", number(info.events));
    fact("snapshots", number(info.snapshots));
    fact("states", number(info.states));
    fact("highest offset", info.highest_offset.to_string());
    for (name, ms) in [("oldest event", info.oldest_event_ms), ("newest event", info.newest_event_ms)] {
        fact(name, ms.map_or("none".into(), |ms| format!("{} ({})", time(ms), ago(ms, now_ms))));
    }
    let mut text = facts.text("");
    if !info.types.is_empty() {
        let columns = ["type", "entities", "events", "snapshots", "states"];
        let header = columns.map(|name| (name, if name == "type" { Align::Left } else { Align::Right }));
        let mut table = Table::new(&header);
        for of_type in &info.types {
            let counts = [of_type.entities, of_type.events, of_type.snapshots, of_type.states].map(number);
            table.row([vec![of_type.entity_type.clone()], counts.to_vec()].concat());
        }
        text.push('\n');
        text.push_str(&table.text(""));
    }
    if !info.projections.is_empty() {
        let (left, right) = (Align::Left, Align::Right);
        let mut table = Table::new(&[
            ("consumer", left),
            ("reads", left),
            ("offset", right),
            ("behind", right),
            ("since", left),
            ("parked", right),
        ]);
        for projection in &info.projections {
            let more = if projection.behind_more { "+" } else { "" };
            let paused = if projection.paused { ", paused" } else { "" };
            table.row(vec![
                projection.group.clone(),
                projection.source.clone(),
                format!("{}{paused}", projection.offset),
                projection.behind.map_or("?".into(), |behind| format!("{}{more}", number(behind))),
                projection.behind_since_ms.map_or(String::new(), |ms| ago(ms, now_ms)),
                number(projection.parked),
            ]);
        }
        text.push('\n');
        text.push_str(&table.text(""));
    }
    text
}

pub(super) async fn entities(store: &Opened, args: &EntitiesArgs, out: &mut Out) -> Done {
    let after = args.after.as_deref().map(id_of).transpose()?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut query =
        EntityQuery { entity_type: args.entity_type.clone(), prefix: args.prefix.clone(), after, limit: ENTITIES_PAGE };
    let mut first = true;
    while left > 0 {
        query.limit = usize::try_from(left).unwrap_or(usize::MAX).min(ENTITIES_PAGE);
        let page = store.admin().entities(query.clone()).await?;
        left -= page.len() as u64;
        query.after = page.last().map(|last| last.id.clone());
        if args.json {
            page.iter().try_for_each(|entity| out.json(entity))?;
        } else if !page.is_empty() {
            let mut text = String::new();
            if std::mem::take(&mut first) {
                let header = ["events", "deleted to", "snapshot", "revision", "id"].map(str::to_owned);
                line(&mut text, "", &header, &ENTITY_WIDTHS, &ENTITY_ALIGN);
            }
            for entity in &page {
                let optional = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
                let cells = [
                    entity.highest_seq.to_string(),
                    optional(Some(entity.deleted_to).filter(|deleted| *deleted > 0)),
                    optional(entity.snapshot_seq),
                    optional(entity.revision),
                    entity.id.to_string(),
                ];
                line(&mut text, "", &cells, &ENTITY_WIDTHS, &ENTITY_ALIGN);
            }
            out.text(text)?;
        }
        if page.len() < query.limit {
            break;
        }
    }
    if first && !args.json {
        out.line("no entities")?;
    }
    Ok(Exit::Stopped)
}

pub(super) async fn events(store: &Opened, args: &EventsArgs, out: &mut Out) -> Done {
    let id = id_of(&args.id)?;
    let decoder = Decoder::new(args.payload.descriptors.as_deref())?;
    let head = head_of(store, &id).await?;
    let (from, to) = args.at.map_or((args.from, args.to.unwrap_or(u64::MAX)), |at| (at, at));
    let mut next = from;
    let mut shown = 0_u64;
    while next <= to {
        let page = store.admin().events(id.clone(), next, to, ReplayLimit::default()).await?;
        let Some(last) = page.last() else { break };
        next = last.seq_nr + 1;
        shown += page.len() as u64;
        for event in &page {
            if args.json {
                out.json(&event_json(event, &decoder))?;
            } else {
                out.text(event_text(event, &decoder, args.at.is_some()))?;
            }
        }
    }
    match args.at {
        Some(seq_nr) if shown == 0 => {
            Err(StoreCommandError::NoEvent { id: id.to_string(), seq_nr, has: which_events(&head) })
        }
        None if shown == 0 && !args.json => {
            out.line(format_args!("no events: {}", which_events(&head)))?;
            Ok(Exit::Stopped)
        }
        _ => Ok(Exit::Stopped),
    }
}

fn which_events(head: &EntityHead) -> String {
    let EntityHead { highest_seq, deleted_to, .. } = head;
    match (highest_seq, deleted_to) {
        (0, _) => "it never had any".into(),
        (highest, 0) => format!("it has events 1 to {highest}"),
        (highest, deleted) if deleted == highest => {
            format!("events 1 to {deleted} are deleted, and there are no others")
        }
        (highest, deleted) => format!("it has events {} to {highest}, those before are deleted", deleted + 1),
    }
}

fn event_json(event: &EventRecord, decoder: &Decoder) -> Value {
    let mut json = json!(event);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("decoded".into(), decoder.decode(&event.manifest, &event.payload).into_json());
    }
    json
}

fn event_text(event: &EventRecord, decoder: &Decoder, whole: bool) -> String {
    let EventRecord { seq_nr, time_ms, epoch, manifest, payload, .. } = event;
    let mut text = format!("#{seq_nr}  {}  {manifest}  {}\n", time(*time_ms), bytes(payload.len() as u64));
    let decoded = decoder.decode(manifest, payload).to_string();
    if !whole {
        text.push_str(&format!("    {}\n", short(&decoded, PAYLOAD_SHOWN)));
        return text;
    }
    let mut facts = Table::new(&[("  epoch", Align::Left), (&epoch.to_string(), Align::Left)]);
    facts.row(vec!["  offset".into(), event.offset.to_string()]);
    if let Some(batch_id) = event.batch_id {
        facts.row(vec!["  batch".into(), format!("{batch_id:032x}, which begins here")]);
    }
    if !event.tags.is_empty() {
        facts.row(vec!["  tags".into(), event.tags.join(", ")]);
    }
    if let Some(meta) = &event.meta {
        facts.row(vec!["  meta".into(), BASE64_STANDARD.encode(meta)]);
    }
    text.push_str(&facts.text(""));
    text.push_str(&format!("    {decoded}\n"));
    text
}

pub(super) async fn state(store: &Opened, args: &StateArgs, out: &mut Out) -> Done {
    let id = id_of(&args.id)?;
    let decoder = Decoder::new(args.payload.descriptors.as_deref())?;
    let head = head_of(store, &id).await?;
    let state = store.admin().state(id.clone()).await?;
    let snapshot = store.admin().snapshot(id.clone()).await?;
    let decode = |manifest: Option<&str>, payload: Option<&[u8]>| Some(decoder.decode(manifest?, payload?));
    let of_state = state.as_ref().and_then(|it| decode(it.manifest.as_deref(), it.payload.as_deref()));
    let of_snapshot = snapshot.as_ref().and_then(|it| decode(Some(&it.manifest), Some(&it.payload)));
    if args.json {
        let with = |record: Option<Value>, decoded: Option<Value>| {
            let mut record = record?;
            record.as_object_mut()?.insert("decoded".into(), decoded.unwrap_or_default());
            Some(record)
        };
        out.json(&json!({
            "head": head,
            "state": with(state.map(|it| json!(it)), of_state.map(super::decode::Decoded::into_json)),
            "snapshot": with(snapshot.map(|it| json!(it)), of_snapshot.map(super::decode::Decoded::into_json)),
        }))?;
        return Ok(Exit::Stopped);
    }
    let mut facts = Table::new(&[("entity", Align::Left), (id.as_str(), Align::Left)]);
    let mut fact = |name: &str, value: String| facts.row(vec![name.to_owned(), value]);
    let claimed = |epoch: u64| if epoch == 0 { "never claimed".into() } else { format!("epoch {epoch}") };
    fact("claims", format!("itself {}, shard {} {}", claimed(head.epoch), head.slice, claimed(head.shard_epoch)));
    if head.highest_seq > 0 || head.state.is_none() {
        let last = head.last_event_ms.map_or(String::new(), |ms| format!(", the last at {}", time(ms)));
        fact("events", format!("{}{last}", which_events(&head)));
    }
    if let Some(state) = &state {
        let deleted = if state.payload.is_none() { ", deleted" } else { "" };
        let size = state.payload.as_ref().map_or(0, |it| it.len()) as u64;
        fact("state", format!("revision {}{deleted}, epoch {}, {}", state.revision, state.epoch, time(state.time_ms)));
        if let (Some(manifest), Some(decoded)) = (&state.manifest, &of_state) {
            fact("  type", format!("{manifest}, {}", bytes(size)));
            fact("  value", decoded.to_string());
        }
    }
    if let Some((snapshot, decoded)) = snapshot.as_ref().zip(of_snapshot) {
        let after = head.highest_seq.saturating_sub(snapshot.seq_nr);
        let follow = format!("{} after it", count(after, "event", "events"));
        let size = bytes(snapshot.payload.len() as u64);
        fact(
            "snapshot",
            format!("#{}, {follow}, epoch {}, {}", snapshot.seq_nr, snapshot.epoch, time(snapshot.time_ms)),
        );
        fact("  type", format!("{}, {size}", snapshot.manifest));
        fact("  value", decoded.to_string());
        let older: Vec<_> = head.snapshots.iter().skip(1).map(|older| format!("#{}", older.seq_nr)).collect();
        if !older.is_empty() {
            fact("  older", older.join(", "));
        }
    } else if head.highest_seq > 0 {
        fact("snapshot", "none: a recovery reads all events".into());
    }
    out.text(facts.text(""))?;
    Ok(Exit::Stopped)
}

fn id_of(text: &str) -> Result<PersistenceId, StoreCommandError> {
    PersistenceId::parse(text).ok_or_else(|| StoreCommandError::NoId(text.to_owned()))
}

async fn head_of(store: &Opened, id: &PersistenceId) -> Result<EntityHead, StoreCommandError> {
    store.admin().head(id.clone()).await?.ok_or_else(|| StoreCommandError::NoEntity(id.to_string()))
}
