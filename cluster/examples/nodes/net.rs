//! [`Net`]: a network of a few nodes, each in a network namespace of its own, that can be cut.
//!
//! A bridge in one more namespace joins them, so nothing is made outside of namespaces that this program made. Addresses
//! of the link layer are fixed: a cut that nobody notices is one that is wrong. Or a [`Switch`] joins them, which this
//! program runs.

use crate::{switch::Switch, tun};
use anyhow::{Context, bail};
use std::{collections::BTreeSet, ffi::OsStr, process::Command};

/// Between two nodes, one way: from the first to the second. Nodes are counted from 1.
pub(crate) type Way = (usize, usize);

/// How packets one way get lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// On the way: the sender notices nothing.
    Silent,
    /// A route of the sender says that there is no way.
    Route,
}

/// See the module's documentation. Dropped, its namespaces are removed, with what still runs in them.
pub(crate) struct Net {
    name: String,
    nodes: usize,
    switch: Option<Switch>,
    /// Hosts without power.
    off: BTreeSet<usize>,
}

impl Net {
    /// One for so many nodes, without cuts.
    pub(crate) fn new(name: String, nodes: usize) -> anyhow::Result<Self> {
        let net = Self { name, nodes, switch: None, off: BTreeSet::new() };
        let bridge = net.bridge();
        add(&bridge)?;
        run("ip", ["-n", &bridge, "link", "add", "bridge", "type", "bridge"])?;
        run("ip", ["-n", &bridge, "link", "set", "bridge", "up"])?;
        for node in 1..=nodes {
            let (namespace, port) = (net.namespace(node), port(node));
            add(&namespace)?;
            let pair = ["type", "veth", "peer", "name", "eth0", "address", &hardware(node), "netns", &namespace];
            run("ip", ["-n", &bridge, "link", "add", &port].into_iter().chain(pair))?;
            run("ip", ["-n", &bridge, "link", "set", &port, "master", "bridge", "up"])?;
            run("ip", ["-n", &namespace, "address", "add", &format!("{}/24", address(node)), "dev", "eth0"])?;
            run("ip", ["-n", &namespace, "link", "set", "lo", "up"])?;
            run("ip", ["-n", &namespace, "link", "set", "eth0", "up"])?;
        }
        net.heal()?;
        Ok(net)
    }

    /// One for so many nodes, that `switch` joins.
    pub(crate) fn switched(name: String, nodes: usize, switch: Switch) -> anyhow::Result<Self> {
        let mut net = Self { name, nodes, switch: Some(switch), off: (1..=nodes).collect() };
        (1..=nodes).try_for_each(|node| net.power_on(node))?;
        Ok(net)
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    /// Nothing comes from this host any more, or arrives there. Takes a switch.
    pub(crate) fn power_off(&mut self, node: usize) {
        if let Some(switch) = &self.switch {
            switch.unplug(node);
            self.off.insert(node);
        }
    }

    /// A host that had no power has it again: its kernel knows nothing of what was before.
    pub(crate) fn power_on(&mut self, node: usize) -> anyhow::Result<()> {
        let Some(switch) = self.switch.as_ref().filter(|_| self.off.contains(&node)) else { return Ok(()) };
        let namespace = self.namespace(node);
        // There is none at the beginning.
        let _ = run("ip", ["netns", "delete", &namespace]);
        add(&namespace)?;
        let (device, wire) = tun::open()?;
        run("ip", ["link", "set", &device, "netns", &namespace])?;
        run("ip", ["-n", &namespace, "address", "add", &format!("{}/24", address(node)), "dev", &device])?;
        run("ip", ["-n", &namespace, "link", "set", "lo", "up"])?;
        run("ip", ["-n", &namespace, "link", "set", &device, "up"])?;
        switch.plug(node, wire)?;
        self.off.remove(&node);
        Ok(())
    }

    /// A command that runs where `node` is.
    pub(crate) fn command(&self, node: usize, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node)]).arg(program);
        command
    }

    /// Nothing arrives one way any more.
    pub(crate) fn cut(&self, (from, to): Way, loss: Loss) -> anyhow::Result<()> {
        match loss {
            Loss::Silent => self.neighbour((from, to), "02:00:00:00:ff:ff"),
            Loss::Route => self.route("add", (from, to)),
        }
    }

    /// Nothing arrives at this node or comes from it any more.
    pub(crate) fn unplug(&self, node: usize) -> anyhow::Result<()> {
        run("ip", ["-n", &self.bridge(), "link", "set", &port(node), "nomaster"])
    }

    /// All arrives.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        for from in 1..=self.nodes {
            run("ip", ["-n", &self.bridge(), "link", "set", &port(from), "master", "bridge"])?;
            for to in (1..=self.nodes).filter(|to| *to != from) {
                self.neighbour((from, to), &hardware(to))?;
                // There may be none.
                let _ = self.route("del", (from, to));
            }
        }
        Ok(())
    }

    fn neighbour(&self, (from, to): Way, hardware: &str) -> anyhow::Result<()> {
        let entry = ["neigh", "replace", &address(to), "lladdr", hardware, "dev", "eth0", "nud", "permanent"];
        run("ip", ["-n", &self.namespace(from)].into_iter().chain(entry))
    }

    fn route(&self, what: &str, (from, to): Way) -> anyhow::Result<()> {
        run("ip", ["-n", &self.namespace(from), "route", what, "blackhole", &format!("{}/32", address(to))])
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}-{node}", self.name)
    }

    fn bridge(&self) -> String {
        format!("{}-bridge", self.name)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let bridge = self.switch.is_none().then(|| self.bridge());
        for namespace in (1..=self.nodes).map(|node| self.namespace(node)).chain(bridge) {
            let _ = run("ip", ["netns", "delete", &namespace]);
        }
    }
}

/// Where `node` is reached, in each network.
pub(crate) fn address(node: usize) -> String {
    format!("10.77.0.{node}")
}

fn hardware(node: usize) -> String {
    format!("02:00:00:00:00:{node:02x}")
}

fn port(node: usize) -> String {
    format!("port{node}")
}

fn add(namespace: &str) -> anyhow::Result<()> {
    run("ip", ["netns", "add", namespace]).context(
        "network namespaces are needed, and the right to make them: run as root, where the kernel has them and `ip` of \
         iproute2 is installed",
    )
}

fn run<'a>(program: &str, args: impl IntoIterator<Item = &'a str>) -> anyhow::Result<()> {
    let args: Vec<&str> = args.into_iter().collect();
    let done = Command::new(program).args(&args).output().with_context(|| format!("cannot run `{program}`"))?;
    if !done.status.success() {
        bail!("`{program} {}`: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}
