//! The first programs a newcomer reads, as they are written there, and what they promise.

#![allow(unreachable_pub, reason = "written as a user would write them, in a crate of their own")]

mod directory;
mod heartbeat;
mod importer;
mod kiosk;
mod turnstile;
