//! The CloudState sidecar as a library.
