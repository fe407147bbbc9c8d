//! [`Membership`]: a member on its own: the daemon of its membership over remoting, and nothing else.

use crate::{
    event::{ClusterEvent, ClusterState},
    lease::HostingDeadline,
    member::{Address, Member, MemberStatus, UniqueAddress},
    membership::{
        daemon::{
            Daemon, Equipment,
            inbox::Wish,
            shared::{Shared, Stage},
        },
        node::{Command, NodeSettings},
        swim,
    },
    remote::{
        door::{Channel, Receiver},
        remoting::{Receivers, Remoting, RemotingSettings},
        wire::Registry,
    },
    seams::Seams,
    uptime::Uptime,
};
use actors::{ActorRef, ActorSystem};
use rand::Rng as _;
use std::{sync::Arc, time::Duration};

/// How a member joins.
#[derive(Clone, Debug)]
pub(crate) struct MembershipConfig {
    pub(crate) seeds: Vec<Address>,
    pub(crate) swim: swim::Settings,
    pub(crate) node: NodeSettings,
}

/// One member. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Membership {
    shared: Arc<Shared>,
    _remoting: Arc<Remoting>,
}

impl Membership {
    pub(crate) async fn join(
        system: &ActorSystem,
        config: MembershipConfig,
        address: Address,
        seams: Seams,
    ) -> Result<Self, String> {
        let me = UniqueAddress { address, uid: seams.rng.fork("uid").next_u64() };
        let myself = Member {
            node: me.clone(),
            status: MemberStatus::Joining,
            up_number: None,
            roles: ["worker".into()].into(),
            data_center: "here".into(),
            app_version: "1".into(),
        };
        let uptime = Uptime::of(seams.clock.clone());
        let shared = Shared::new(myself, uptime.clone());
        let mut receivers = Receivers::new();
        receivers.insert(Channel::Membership, shared.inbox.clone() as Arc<dyn Receiver>);
        let settings = RemotingSettings { cluster: config.swim.cluster.clone(), ..RemotingSettings::default() };
        let remoting = Remoting::start(me, settings, Registry::default(), seams.clone(), receivers);
        let equipment = Equipment {
            uptime,
            shared: shared.clone(),
            remote: remoting.clone(),
            start: seams.clock.wall_ms(),
            swim: swim::Settings { seeds: config.seeds.clone(), ..config.swim },
            node: config.node,
            lease: None,
            seams: seams.clone(),
        };
        Daemon::start(equipment).map_err(|error| error.to_string())?;
        let _ = shared.inbox.wish(Wish::Command(Command::Join { seeds: config.seeds }));
        let membership = Self { shared, _remoting: remoting };
        let (follows, system, clock) = (membership.clone(), system.clone(), seams.clock.clone());
        seams.ordinary.spawn(Box::pin(async move {
            follows.ends().await;
            clock.sleep(Duration::from_secs(1)).await;
            system.coordinated_shutdown().start();
        }));
        let mut stage = membership.shared.stage();
        match stage.wait_for(|stage| !matches!(stage, Stage::Joining)).await.map(|stage| stage.clone()) {
            Ok(Stage::Member(_)) => Ok(membership),
            other => Err(format!("{other:?}")),
        }
    }

    /// Waits until it is a member no more. What it did is handed over at once.
    async fn ends(&self) {
        let mut stage = self.shared.stage();
        while !matches!(*stage.borrow_and_update(), Stage::Stopped(_)) {
            if *stage.borrow() == Stage::Member(MemberStatus::Exiting) {
                let _ = self.shared.inbox.wish(Wish::Command(Command::HandedOver));
            }
            if stage.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn me(&self) -> &UniqueAddress {
        &self.shared.myself.node
    }

    pub(crate) fn state(&self) -> Arc<ClusterState> {
        self.shared.state()
    }

    pub(crate) fn hosting(&self) -> &HostingDeadline {
        &self.shared.hosting
    }

    pub(crate) fn subscribe(&self, subscriber: &ActorRef<ClusterEvent>) {
        let _ = self.shared.inbox.wish(Wish::Subscribe(subscriber.clone()));
    }

    pub(crate) fn leave(&self) {
        let _ = self.shared.inbox.wish(Wish::Command(Command::Leave(self.me().address.clone())));
    }

    pub(crate) fn down(&self, address: &Address) {
        let _ = self.shared.inbox.wish(Wish::Command(Command::Down(address.clone())));
    }
}
