//! The CloudState protocol 0.2: its schema and the code generated from it, and nothing else.
//!
//! Module paths follow the protocol's packages: [`cloudstate`], [`cloudstate::eventsourced`], and so
//! on. `bytes` fields are [`prost::bytes::Bytes`] and `google.protobuf.Any` is our own [`Any`], so
//! that payloads pass through without being copied.

mod any;

pub use any::Any;

/// The descriptors of the protocol's files and their imports, with all options: a serialised
/// `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/protocol/descriptors.bin"));

#[allow(missing_docs, nonstandard_style, unreachable_pub, clippy::all, rustdoc::all, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protocol/mod.rs"));
}

pub use generated::{cloudstate, google};

/// What the nodes of one cluster say to each other. Of no interest to anybody else, and no part of the protocol.
pub mod internal {
    #[allow(missing_docs, nonstandard_style, unreachable_pub, clippy::all, rustdoc::all, reason = "generated code")]
    mod generated {
        include!(concat!(env!("OUT_DIR"), "/internal/mod.rs"));
    }

    pub use generated::internal::{membership, remote};
}

/// The conformance suite's model services and the sample services.
#[cfg(feature = "model")]
pub mod model {
    /// The descriptors of these files and their imports, with all options.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model/descriptors.bin"));

    #[allow(missing_docs, nonstandard_style, unreachable_pub, clippy::all, rustdoc::all, reason = "generated code")]
    mod generated {
        include!(concat!(env!("OUT_DIR"), "/model/mod.rs"));
    }

    pub use generated::cloudstate::tck::model as tck;
    pub use generated::com::example;
}
