//! Tests of the persistence crate, one module a subject.

#![allow(clippy::disallowed_methods, reason = "real processes and disks take real time")]

mod admin;
mod codec;
mod crash;
mod damage;
mod dedupe;
mod disk;
mod durable_state;
mod effects;
mod entity;
mod evolution;
mod feeds;
mod feeds_under_load;
mod from_akka;
mod golden;
mod golden_postgres;
mod guarded;
mod journal_contract;
mod measures;
mod opening;
mod postgres;
mod postgres_feeds;
mod postgres_leases;
mod postgres_opening;
mod postgres_projections;
mod postgres_server;
mod postgres_set_back;
mod power_loss;
mod projections;
mod recovery;
mod retention;
mod sim_cluster;
mod snapshots;
mod states;
mod store;
mod storm;
mod two_processes;
mod upgrade;
mod wal_growth;
mod wallet;
