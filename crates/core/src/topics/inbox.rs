//! The bounded queue of one subscription, or of the members of a queue group on this node.
//!
//! | state | push | pop |
//! |---|---|---|
//! | open | appends the message; one over a limit makes the queue lagged | the next message |
//! | lagged | drops the message | [`Received::Lagged`], always |

use super::publish::MESSAGE_MAX;
use super::subscription::{Message, Received};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The limit of messages that wait for a subscription.
pub const QUEUE_MAX: usize = 1024;
/// The limit of bytes of messages that wait for a subscription. All subscriptions share a message, but the slowest
/// consumer determines how long it stays in memory.
pub const QUEUE_BYTES: usize = 4 * MESSAGE_MAX;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    lagged: bool,
}

impl Inbox {
    pub(super) fn push(&self, message: &Arc<Message>) {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + message.body.len();
        let lagged = waiting.lagged || waiting.messages.len() == QUEUE_MAX || bytes > QUEUE_BYTES;
        if lagged {
            *waiting = Waiting { lagged: true, ..Waiting::default() };
        } else {
            waiting.bytes = bytes;
            waiting.messages.push_back(Arc::clone(message));
        }
        drop(waiting);
        if lagged {
            // All members of the queue group: none of them receives anything else.
            self.wake.notify_waiters();
        }
        self.wake.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Received> {
        let mut waiting = self.lock();
        if waiting.lagged {
            return Some(Received::Lagged);
        }
        let message = waiting.messages.pop_front()?;
        waiting.bytes -= message.body.len();
        if waiting.messages.is_empty() {
            // There may be 10,000 subscriptions, each with the allocation of its longest queue.
            waiting.messages = VecDeque::new();
        }
        Some(Received::Message(message))
    }

    /// Waits for a push.
    pub(super) async fn notified(&self) {
        self.wake.notified().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    pub(super) fn is_lagged(&self) -> bool {
        self.lock().lagged
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
