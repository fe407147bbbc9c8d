//! Tests of the actors crate, one module a subject.

mod alloc;
mod asks;
mod behavior_kit;
mod clock;
mod cycle;
mod dead_letters;
mod delivery;
mod destructors;
mod event_stream;
mod guide;
mod ignore;
mod mailbox;
mod pipe_to_self;
mod receptionist;
mod routers;
mod script;
mod shutdown;
mod stash;
mod stop_order;
mod supervision;
mod supervisor;
mod tell_ask;
mod threads;
mod timers;
mod watch;
