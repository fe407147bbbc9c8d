//! Limits and switches of the public port.

use std::time::Duration;

/// Settings of a [`Frontend`](super::Frontend).
#[derive(Clone, Debug)]
pub struct FrontendSettings {
    /// Largest request message, after decompression, and largest HTTP body, in bytes. Default 4 MiB.
    pub message_in_max: usize,
    /// Largest reply message, before compression, in bytes. Default 4 MiB.
    pub message_out_max: usize,
    /// How long a unary call may take when its client sets no deadline. Default 60 s.
    pub relay_timeout: Duration,
    /// The longest deadline a client may set for a unary call. Default 5 min; at least `relay_timeout`.
    pub deadline_max: Duration,
    /// Calls being served at once; one more is refused with `RESOURCE_EXHAUSTED`. Default 65,536.
    pub calls_max: usize,
    /// Names and values of the headers handed on with a call, in bytes. Default 8 KiB.
    pub metadata_max: usize,
    /// Replies shorter than this are not compressed, in bytes. Default 1 KiB.
    pub compression_min: usize,
    /// Which web pages may call.
    pub cors: CorsSettings,
}

/// Which web pages of other origins may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsSettings {
    /// All of them: the default.
    #[default]
    AnyOrigin,
    /// Those of these origins (`https://example.com`), nobody else.
    Origins(Vec<String>),
}

impl Default for FrontendSettings {
    fn default() -> Self {
        Self {
            message_in_max: 4 * 1024 * 1024,
            message_out_max: 4 * 1024 * 1024,
            relay_timeout: Duration::from_secs(60),
            deadline_max: Duration::from_secs(300),
            calls_max: 65_536,
            metadata_max: 8 * 1024,
            compression_min: 1024,
            cors: CorsSettings::AnyOrigin,
        }
    }
}
