//! Two nodes of different releases find out what they can say to each other.

use super::{
    dropped::DropReason,
    pack::{self, Packer, Unpacker},
    wire::{Agreement, NotPassed, PackError, Registry, RegistryError, WireMessage},
};
use actors::remote::{ContextError, RefPlace, RemoteReply, Unpacking};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::{any::Any, ops::RangeInclusive, sync::Arc};

/// A cart as each release knows it: in version 1 amounts were cents, from 2 on they have a currency.
macro_rules! release {
    ($release:ident, $version:expr, $reads:expr) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        struct $release {
            cents: u64,
            currency: String,
        }

        impl WireMessage for $release {
            const NAME: &'static str = "shop.Cart";
            const VERSION: u32 = $version;
            const READS: RangeInclusive<u32> = $reads;

            fn write(&self, version: u32, out: &mut Packer<'_>) -> Result<(), PackError> {
                if version == 1 { out.value(&self.cents) } else { out.value(self) }
            }

            fn read(version: u32, bytes: Unpacker<'_>) -> Result<Self, PackError> {
                match version {
                    1 => Ok(Self { cents: bytes.value()?, currency: "EUR".to_owned() }),
                    _ => bytes.value(),
                }
            }
        }
    };
}

release!(Old, 1, 1..=1);
release!(Careful, 1, 1..=2);
release!(New, 2, 1..=2);
release!(Newest, 3, 3..=3);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Other(Vec<Other>);

impl WireMessage for Other {
    const NAME: &'static str = "a.Other";
    const VERSION: u32 = 1;
    const READS: RangeInclusive<u32> = 1..=1;
}

const MAX: usize = 10_000;

fn of<M: WireMessage>() -> Registry {
    Registry::builder().message::<M>().build().unwrap()
}

fn between(one: &Registry, two: &Registry) -> (Agreement, Agreement) {
    (one.negotiate(&two.offers(), 2), two.negotiate(&one.offers(), 2))
}

/// For messages without references.
struct NoReferences;

impl Unpacking for NoReferences {
    fn actor(&self, _: &[u8], _: &mut dyn RefPlace) -> Result<(), ContextError> {
        Err(ContextError::new("none is expected"))
    }

    fn reply(&self, _: u64) -> Result<Arc<dyn RemoteReply>, ContextError> {
        Err(ContextError::new("none is expected"))
    }
}

fn unpack(
    agreement: &Agreement,
    type_number: u32,
    version: u32,
    bytes: &[u8],
) -> Result<Box<dyn Any + Send>, NotPassed> {
    let mut read = None;
    agreement.unpack(type_number, version, bytes, &NoReferences, &mut |message| read = Some(message.boxed()))?;
    Ok(read.expect("what was read is handed over"))
}

/// Which version goes from a node with `A` to one with `B`; the value must survive.
macro_rules! goes {
    ($a:ident => $b:ident) => {{
        let (from, to) = between(&of::<$a>(), &of::<$b>());
        let message = $a { cents: 5, currency: "EUR".to_owned() };
        from.pack(&message, MAX).map(|packed| {
            let got = unpack(&to, packed.type_number, packed.version, &packed.bytes).unwrap();
            assert_eq!(*got.downcast::<$b>().unwrap(), $b { cents: 5, currency: "EUR".to_owned() });
            packed.version
        })
    }};
}

#[test]
fn two_releases_that_follow_each_other_always_understand_each_other() {
    assert_eq!(goes!(Old => Old), Ok(1));
    assert_eq!(goes!(Old => Careful), Ok(1));
    assert_eq!(goes!(Careful => Old), Ok(1), "it reads both and still writes the old one");
    assert_eq!(goes!(Careful => New), Ok(1));
    assert_eq!(goes!(New => Careful), Ok(2));
    assert_eq!(goes!(New => New), Ok(2));
    assert_eq!(goes!(New => Old), Ok(1), "it still can write the old one");
}

#[test]
fn without_a_common_version_the_message_is_dropped_and_says_so() {
    for error in
        [goes!(Newest => Old).unwrap_err(), goes!(Old => Newest).unwrap_err(), goes!(New => Newest).unwrap_err()]
    {
        assert_eq!((error.reason, &*error.name), (DropReason::NoCommonVersion, "shop.Cart"), "{error}");
    }
}

#[test]
fn numbers_are_the_senders() {
    let both = Registry::builder().message::<New>().message::<Other>().build().unwrap();
    let (from, to) = between(&of::<New>(), &both);
    let packed = from.pack(&New { cents: 1, currency: "CHF".to_owned() }, MAX).unwrap();
    assert_eq!(packed.type_number, 0, "its only type");
    assert!(unpack(&to, 0, packed.version, &packed.bytes).unwrap().is::<New>(), "which is the second one there");
    let refused = to.pack(&Other(vec![]), MAX).unwrap_err();
    assert_eq!((refused.reason, &*refused.name), (DropReason::UnknownThere, "a.Other"));
}

#[test]
fn what_nobody_knows_or_can_read_is_dropped_with_its_reason() {
    let (from, to) = between(&of::<New>(), &of::<New>());
    let packed = from.pack(&New { cents: 1, currency: "CHF".to_owned() }, MAX).unwrap();
    let reason =
        |number, version, bytes: &[u8]| unpack(&to, number, version, bytes).map(|_| ()).map_err(|no| no.reason);
    assert_eq!(reason(0, 2, &packed.bytes), Ok(()));
    assert_eq!(reason(1, 2, &packed.bytes), Err(DropReason::UnknownHere));
    assert_eq!(reason(u32::MAX, 2, &packed.bytes), Err(DropReason::UnknownHere));
    assert_eq!(reason(0, 3, &packed.bytes), Err(DropReason::NoCommonVersion));
    assert_eq!(reason(0, 0, &packed.bytes), Err(DropReason::NoCommonVersion));
    assert_eq!(reason(0, 1, &packed.bytes), Err(DropReason::Malformed));
    assert_eq!(reason(0, 2, &packed.bytes[1..]), Err(DropReason::Malformed));
    assert_eq!(from.pack(&Other(vec![]), MAX).unwrap_err().reason, DropReason::UnknownHere);
}

#[test]
fn too_large_names_the_type_and_the_size() {
    let (from, _) = between(&of::<New>(), &of::<New>());
    let message = New { cents: 1, currency: "x".repeat(MAX) };
    let NotPassed { reason, name, detail } = from.pack(&message, MAX).unwrap_err();
    assert_eq!((reason, &*name), (DropReason::TooLarge, "shop.Cart"));
    assert!(detail.contains(&pack::write(&message, 2 * MAX).unwrap().len().to_string()), "{detail}");
}

#[test]
fn a_value_nested_too_deep_is_dropped() {
    let nested = |depth| (0..depth).fold(Other(vec![]), |inner, _| Other(vec![inner]));
    let (from, to) = between(&of::<Other>(), &of::<Other>());
    let there_and = |depth| {
        let packed = from.pack(&nested(depth), MAX).unwrap();
        unpack(&to, 0, 1, &packed.bytes).map(|_| ()).map_err(|no| no.reason)
    };
    assert_eq!(there_and(99), Ok(()));
    assert_eq!(there_and(101), Err(DropReason::Malformed));
}

#[test]
fn a_registry_refuses_what_would_be_two_things() {
    release!(Backwards, 1, 2..=3);
    release!(Zero, 0, 0..=1);
    #[derive(Serialize, Deserialize)]
    struct Spaced;
    impl WireMessage for Spaced {
        const NAME: &'static str = "my message";
        const VERSION: u32 = 1;
        const READS: RangeInclusive<u32> = 1..=1;
    }
    let error = |builder: super::wire::RegistryBuilder| builder.build().unwrap_err();
    assert_eq!(
        error(Registry::builder().message::<Old>().message::<New>()),
        RegistryError::SameName("shop.Cart".into())
    );
    assert!(matches!(error(Registry::builder().message::<Backwards>()), RegistryError::NoVersion { .. }));
    assert!(matches!(error(Registry::builder().message::<Zero>()), RegistryError::NoVersion { .. }));
    assert_eq!(error(Registry::builder().message::<Spaced>()), RegistryError::NoName("my message".into()));
    assert!(Registry::builder().message::<Old>().message::<Old>().build().is_ok(), "the same once more is no matter");
}

proptest! {
    #[test]
    fn garbage_from_another_node_never_panics(number: u32, version in 0_u32..4, bytes: Vec<u8>) {
        let (_, to) = between(&of::<New>(), &of::<New>());
        let _ = unpack(&to, number % 2, version, &bytes);
        let (_, to) = between(&of::<Other>(), &of::<Other>());
        let _ = unpack(&to, number % 2, version, &bytes);
    }
}
