//! [`Copying`]: rows on their way into a table by `COPY`.

use super::{Stop, import::explain};
use bytes::{BufMut, BytesMut};
use std::{error::Error as StdError, pin::Pin};
use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

/// Rows of one table at a time; those of the next begin when all of it have arrived.
#[derive(Default)]
pub(super) struct Copying(Option<(Table, Pin<Box<BinaryCopyInWriter>>)>);

impl Copying {
    /// Sends a row.
    pub(super) async fn row(&mut self, client: &Client, table: Table, row: &[&(dyn ToSql + Sync)]) -> Result<(), Stop> {
        if self.0.as_ref().is_none_or(|(current, _)| *current != table) {
            self.end().await?;
            let (columns, types) = table.columns();
            let sink = client.copy_in(&format!("COPY {columns} FROM STDIN BINARY")).await?;
            self.0 = Some((table, Box::pin(BinaryCopyInWriter::new(sink, types))));
        }
        if let Some((_, writer)) = &mut self.0 {
            writer.as_mut().write(row).await.map_err(explain)?;
        }
        Ok(())
    }

    /// Waits until the server has taken all rows: only then it says what is wrong with them.
    pub(super) async fn end(&mut self) -> Result<(), Stop> {
        if let Some((_, mut writer)) = self.0.take() {
            writer.as_mut().finish().await.map_err(explain)?;
        }
        Ok(())
    }
}

/// A table that rows are copied into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Owner,
    Projection,
    Parked,
    Entity,
    Journal,
    Snapshot,
    State,
}

impl Table {
    fn columns(self) -> (&'static str, &'static [Type]) {
        const TEXT: Type = Type::TEXT;
        const INT4: Type = Type::INT4;
        const INT8: Type = Type::INT8;
        const BYTEA: Type = Type::BYTEA;
        const BOOL: Type = Type::BOOL;
        match self {
            Self::Owner => {
                ("owner(entity_type, shard, epoch, entity_epoch_max, owner)", &[TEXT, INT4, INT8, INT8, TEXT])
            }
            Self::Projection => (
                "projection(consumer_group, source, epoch, generation, tx, ordering, paused)",
                &[TEXT, TEXT, INT8, INT4, INT8, INT8, BOOL],
            ),
            Self::Parked => (
                "parked(consumer_group, source, generation, tx, ordering, persistence_id, seq_nr, attempts, reason,
                   time_ms, replay)",
                &[TEXT, TEXT, INT4, INT8, INT8, TEXT, INT8, INT8, TEXT, INT8, BOOL],
            ),
            Self::Entity => (
                "entity(persistence_id, entity_type, slice, epoch, highest_seq, deleted_to)",
                &[TEXT, TEXT, INT4, INT8, INT8, INT8],
            ),
            Self::Journal => (
                "journal(persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, tx, ordering, time_ms,
                   manifest, payload, meta, crc, tags)",
                &[
                    TEXT, INT8, INT4, TEXT, INT8, Type::UUID, INT4, Type::XID8, INT8, INT8, TEXT, BYTEA, BYTEA, INT8,
                    Type::TEXT_ARRAY,
                ],
            ),
            Self::Snapshot => (
                "snapshot(persistence_id, seq_nr, epoch, time_ms, manifest, payload, meta, crc)",
                &[TEXT, INT8, INT8, INT8, TEXT, BYTEA, BYTEA, INT8],
            ),
            Self::State => (
                "state(persistence_id, slice, entity_type, revision, epoch, batch_id, generation, tx, ordering, time_ms,
                   manifest, payload, meta, crc, tag)",
                &[
                    TEXT, INT4, TEXT, INT8, INT8, Type::UUID, INT4, Type::XID8, INT8, INT8, TEXT, BYTEA, BYTEA, INT8,
                    TEXT,
                ],
            ),
        }
    }
}

/// The number of a transaction as the server's type for it.
#[derive(Debug)]
pub(super) struct TransactionId(pub(super) i64);

impl ToSql for TransactionId {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_i64(self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::XID8
    }

    to_sql_checked!();
}
