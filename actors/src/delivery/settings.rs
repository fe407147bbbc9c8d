//! Settings of the controllers.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

const DEFAULT_WINDOW: NonZeroU32 = NonZeroU32::new(50).expect("it is not zero");
const DEFAULT_ATTEMPTS: NonZeroU32 = NonZeroU32::new(10).expect("it is not zero");
const DEFAULT_BUFFER: NonZeroUsize = NonZeroUsize::new(1_000).expect("it is not zero");

/// Settings of a [`ProducerController`](super::ProducerController), and of each worker's link in work pulling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSettings {
    /// After how long the first message of a link is sent again, until it is confirmed. Default 1 s.
    pub resend_first_interval: Duration,
    /// How long [`RequestNext::send_confirmed`](super::RequestNext::send_confirmed) waits. Default 60 s; it must cover
    /// the time the consumer's business takes for everything in front, or answers come that nobody waits for.
    pub confirm_timeout: Duration,
    /// How the durable queue is used, where there is one.
    pub durable_queue: DurableQueueSettings,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            resend_first_interval: Duration::from_secs(1),
            confirm_timeout: Duration::from_secs(60),
            durable_queue: DurableQueueSettings::default(),
        }
    }
}

impl ProducerSettings {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// [`DeliverySettingsError`] names the field.
    pub fn validate(&self) -> Result<(), DeliverySettingsError> {
        longer_than_zero("resend_first_interval", self.resend_first_interval)?;
        longer_than_zero("confirm_timeout", self.confirm_timeout)?;
        longer_than_zero("durable_queue.request_timeout", self.durable_queue.request_timeout)
    }
}

/// How a producer's controller uses its durable queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableQueueSettings {
    /// How long one request may take. Default 3 s.
    pub request_timeout: Duration,
    /// How often a request is made before the controller fails, the first time included. Default 10. The worst case is
    /// this × `request_timeout` until a broken queue is a failure.
    pub attempts: NonZeroU32,
}

impl Default for DurableQueueSettings {
    fn default() -> Self {
        Self { request_timeout: Duration::from_secs(3), attempts: DEFAULT_ATTEMPTS }
    }
}

/// Settings of a [`ConsumerController`](super::ConsumerController).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// How many messages may be under way or wait here, unconfirmed. Default 50. A chunk of a message counts as one
    /// until it is received in its turn. Worst case memory: this × message.
    pub window: NonZeroU32,
    /// How soon silence makes the consumer ask again. Default 2 s; each time without news the wait doubles.
    pub resend_interval_min: Duration,
    /// The longest wait between two such questions. Default 30 s; not shorter than `resend_interval_min`.
    pub resend_interval_max: Duration,
    /// Whether what is lost stays lost: only the pace is kept. Default false.
    pub only_flow_control: bool,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            window: DEFAULT_WINDOW,
            resend_interval_min: Duration::from_secs(2),
            resend_interval_max: Duration::from_secs(30),
            only_flow_control: false,
        }
    }
}

impl ConsumerSettings {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// [`DeliverySettingsError`] names the fields.
    pub fn validate(&self) -> Result<(), DeliverySettingsError> {
        longer_than_zero("resend_interval_min", self.resend_interval_min)?;
        if self.resend_interval_max < self.resend_interval_min {
            return Err(DeliverySettingsError::Intervals {
                min: self.resend_interval_min,
                max: self.resend_interval_max,
            });
        }
        Ok(())
    }
}

/// Settings of a [`WorkPullingController`](super::WorkPullingController).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkPullingSettings {
    /// How many messages may wait for a worker with demand. Default 1000; while there are fewer, the producer is asked
    /// for the next. What a dead worker had not confirmed comes on top: its window, at most. Worst case memory: this ×
    /// message.
    pub buffer: NonZeroUsize,
    /// Settings of each worker's link, of confirmations and of the durable queue.
    pub producer: ProducerSettings,
}

impl Default for WorkPullingSettings {
    fn default() -> Self {
        Self { buffer: DEFAULT_BUFFER, producer: ProducerSettings::default() }
    }
}

impl WorkPullingSettings {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// [`DeliverySettingsError`] names the field.
    pub fn validate(&self) -> Result<(), DeliverySettingsError> {
        self.producer.validate()
    }
}

/// Settings that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliverySettingsError {
    /// A duration is zero.
    #[error("`{field}` must be longer than zero")]
    Zero {
        /// Which setting.
        field: &'static str,
    },
    /// The longest interval is shorter than the shortest.
    #[error("`resend_interval_max` ({max:?}) must not be shorter than `resend_interval_min` ({min:?})")]
    Intervals {
        /// `resend_interval_min`.
        min: Duration,
        /// `resend_interval_max`.
        max: Duration,
    },
}

fn longer_than_zero(field: &'static str, duration: Duration) -> Result<(), DeliverySettingsError> {
    if duration.is_zero() { Err(DeliverySettingsError::Zero { field }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        let consumer = ConsumerSettings { resend_interval_max: Duration::from_secs(1), ..Default::default() };
        let text = consumer.validate().unwrap_err().to_string();
        assert_eq!(text, "`resend_interval_max` (1s) must not be shorter than `resend_interval_min` (2s)");
        let producer = ProducerSettings { confirm_timeout: Duration::ZERO, ..Default::default() };
        assert_eq!(producer.validate().unwrap_err().to_string(), "`confirm_timeout` must be longer than zero");
        assert_eq!(ProducerSettings::default().validate(), Ok(()));
        assert_eq!(ConsumerSettings::default().validate(), Ok(()));
    }
}
