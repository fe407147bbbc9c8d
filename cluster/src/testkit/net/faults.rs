//! [`NetFaults`]: how a simulated network treats what it carries.

/// What goes wrong by itself on each link of a simulated network, and how often. Rates are thousandths. The default is a
/// good network: one to five milliseconds, nothing lost.
///
/// Cuts and breaks are made apart from this; see [`SimCluster`](crate::testkit::SimCluster).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetFaults {
    /// How long anything takes, in milliseconds, from the first to the second. Datagrams overtake each other.
    pub delay_ms: (u32, u32),
    /// Datagrams that are lost.
    pub loss: u32,
    /// Datagrams with which a bad time of up to two seconds begins on their link: what is sent then comes up to two
    /// seconds late, or, every other time, not at all.
    pub bursts: u32,
    /// Datagrams that come twice.
    pub duplicates: u32,
    /// Datagrams of which the end is missing.
    pub truncations: u32,
    /// Datagrams of which one bit is another.
    pub flips: u32,
    /// Datagrams after which one comes once more that was sent at any time before on that link.
    pub replays: u32,
    /// Reads and writes of streams that move fewer bytes than they could.
    pub short_io: u32,
    /// Connections that break somewhere in the first 64 KiB that pass.
    pub resets: u32,
    /// Connections that are refused.
    pub refusals: u32,
    /// Connections of which nobody ever hears: neither made nor refused.
    pub black_holes: u32,
    /// Connections that stand on one side, and that nobody serves on the other.
    pub mutes: u32,
}

impl NetFaults {
    /// A good network.
    pub const NONE: Self = Self {
        delay_ms: (1, 5),
        loss: 0,
        bursts: 0,
        duplicates: 0,
        truncations: 0,
        flips: 0,
        replays: 0,
        short_io: 0,
        resets: 0,
        refusals: 0,
        black_holes: 0,
        mutes: 0,
    };
}

impl Default for NetFaults {
    fn default() -> Self {
        Self::NONE
    }
}
