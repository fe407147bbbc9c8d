//! Values as bytes: versions, upgrades, and what cannot be read.

use crate::{
    store,
    wallet::{WalletCommand, WalletEntity, WalletEvent},
};
use actors::{ActorSystem, AskError};
use persistence::{
    Append, AppendError, Codec, CodecError, Coded, EventSourcedBehavior, FenceScope, InMemoryJournal, Journal,
    JournalError, MessagePack, PersistenceId, RawEvent, ReplayLimit, SqliteOptions, SqliteStore,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// The first release knew one kind of event, with amounts in whole euros.
#[derive(Serialize, Deserialize)]
struct DepositedEuros {
    euros: u64,
}

fn codec() -> MessagePack<WalletEvent> {
    MessagePack::new("wallet.Event", 2)
        .reads("wallet.Deposited/1", |old: DepositedEuros| WalletEvent::Deposited { cents: old.euros * 100 })
}

#[test]
fn values_come_back_and_say_their_version() {
    for event in [WalletEvent::Deposited { cents: 7 }, WalletEvent::Frozen] {
        let (manifest, payload) = codec().encode(&event).unwrap();
        assert_eq!(&*manifest, "wallet.Event/2");
        assert_eq!(codec().decode(&manifest, &payload), Ok(event));
    }
}

/// Bytes as the first release stored them, kept here for ever.
#[test]
fn bytes_of_the_first_release_are_still_read() {
    let golden = b"\x81\xa5euros\x05";
    let event = codec().decode("wallet.Deposited/1", &golden.to_vec().into());
    assert_eq!(event, Ok(WalletEvent::Deposited { cents: 500 }));
}

#[test]
fn an_added_field_does_not_break_older_bytes_or_readers() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        cents: u64,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        #[serde(default)]
        note: String,
        cents: u64,
    }
    let (before, after) = (MessagePack::<Before>::new("state", 1), MessagePack::<After>::new("state", 1));
    let (manifest, old) = before.encode(&Before { cents: 3 }).unwrap();
    assert_eq!(after.decode(&manifest, &old), Ok(After { note: String::new(), cents: 3 }));
    let (manifest, new) = after.encode(&After { note: "new".into(), cents: 4 }).unwrap();
    assert_eq!(before.decode(&manifest, &new), Ok(Before { cents: 4 }), "a rollback can still read");
}

#[test]
fn an_unknown_manifest_names_those_that_are_known() {
    let error = codec().decode("wallet.Event/3", &vec![].into()).unwrap_err();
    assert_eq!(error.to_string(), "unknown manifest; this codec reads wallet.Deposited/1, wallet.Event/2");
}

/// Hostile or cut bytes are an error, whatever they claim about their length.
#[test]
fn no_bytes_make_the_codec_panic() {
    let (manifest, payload) = codec().encode(&WalletEvent::Deposited { cents: u64::MAX }).unwrap();
    for cut in 0..payload.len() {
        codec().decode(&manifest, &payload.slice(..cut)).unwrap_err();
    }
    for claim in [b"\xdd\xff\xff\xff\xff".to_vec(), b"\xc6\xff\xff\xff\xff".to_vec(), vec![0x91; 100_000]] {
        codec().decode(&manifest, &claim.into()).unwrap_err();
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_encoded_is_rejected() {
    struct Refuses;
    impl Codec<u32> for Refuses {
        fn encode(&self, value: &u32) -> Result<(Arc<str>, bytes::Bytes), CodecError> {
            Err(CodecError(format!("{value} is unspeakable")))
        }
        fn decode(&self, _: &str, _: &bytes::Bytes) -> Result<u32, CodecError> {
            unreachable!("nothing was stored")
        }
    }
    let raw = InMemoryJournal::<RawEvent>::raw();
    let journal = Coded::new(raw.clone(), Refuses);
    let id = PersistenceId::of("coded", "1");
    let fence = Journal::<u32>::claim(&journal, FenceScope::Entity(id.clone())).await.unwrap();
    let append =
        Append { id: id.clone(), expected_seq: 1, fence, batch_id: 1, events: vec![13_u32], tags: vec![], time_ms: 0 };
    let refused = journal.append(append).await;
    assert_eq!(refused, Err(AppendError::Rejected { reason: "13 is unspeakable".into() }));
    assert_eq!(raw.highest_seq(id).await, Ok(0));
}

/// An entity over typed bytes on disk, through a restart of store and system.
#[tokio::test]
async fn an_entity_lives_on_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    for (before, after) in [(0, 10), (10, 20), (20, 30)] {
        let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
        let system = ActorSystem::new("bank");
        let journal = Coded::new(store.clone(), codec());
        let wallet = system.spawn("ada", EventSourcedBehavior::new(WalletEntity::named("ada"), journal));
        assert_eq!(wallet.ask(WalletCommand::Balance, Duration::from_secs(60)).await, Ok(before));
        let deposit = |reply_to| WalletCommand::DepositAll(vec![4, 6], reply_to);
        assert_eq!(wallet.ask(deposit, Duration::from_secs(60)).await, Ok(after));
        system.terminate().await;
        store.close().await;
    }
}

/// An event of a newer release: refused, not skipped, and named.
#[tokio::test]
async fn an_entity_does_not_start_over_an_event_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let mut entity = store::Entity::claim(&store, "ada").await;
    entity.append(&store, &["not of this release"]).await.unwrap();
    let journal = Coded::new(store.clone(), codec());
    let read: Result<Vec<_>, _> =
        Journal::<WalletEvent>::replay(&journal, entity.id.clone(), 1, 9, ReplayLimit::default()).await;
    let Err(error @ JournalError::Undecodable { seq_nr: 1, .. }) = read else { panic!("{read:?}") };
    assert!(error.is_permanent());
    assert!(error.to_string().contains("cannot decode \"text/1\" of test|ada at sequence number 1"), "{error}");

    let system = ActorSystem::new("bank");
    let named = WalletEntity { entity_type: "test", ..WalletEntity::named("ada") };
    let wallet = system.spawn("ada", EventSourcedBehavior::new(named, journal));
    assert_eq!(wallet.ask(WalletCommand::Balance, Duration::from_secs(60)).await, Err(AskError::Stopped));
    system.terminate().await;
    store.close().await;
}
