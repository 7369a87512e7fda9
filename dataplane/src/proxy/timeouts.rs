//! How long a session waits for what.

use super::{Phase, Role};
use crate::conn::Ending;
use crate::counters::{LocalReply, Timeout};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::worker::{Worker, session_timer};

/// How long a connection that we have closed may take to end, in ms.
pub(super) const LINGER: u32 = 10_000;

/// How long an endpoint may take to close a connection of which it has said that it will, in ms.
pub(super) const PARTING: u32 = 1_000;

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Fires the session's timer `after` ms from now; 0 is never.
    pub(crate) fn arm_session(&mut self, id: ConnId, after: u32) {
        if after == 0 {
            self.timers.disarm(session_timer(id));
        } else {
            self.timers
                .arm(session_timer(id), self.now + u64::from(after));
        }
    }

    /// Notes what a client's session waits for now. The timer starts anew when that changes, or
    /// with `progress`.
    pub(super) fn set_phase(&mut self, id: ConnId, phase: Phase, progress: bool) {
        let timeouts = &self.settings.timeouts;
        let unsaid = self.conns[id].send.outstanding() > 0;
        let Role::Client(client) = &mut self.conns[id].role else {
            return;
        };
        // A request's body restarts its own timer, but the others wait for one event.
        let restarts = matches!(
            phase,
            Phase::Request | Phase::Stream | Phase::Linger | Phase::Idle
        );
        if client.phase == phase && !(progress && restarts) {
            return;
        }
        client.phase = phase;
        let after = match phase {
            Phase::Handshake | Phase::Head => timeouts.request_head,
            Phase::Idle => timeouts.idle,
            Phase::Pending => timeouts.pending,
            Phase::Connect => timeouts.connect,
            Phase::Request | Phase::Stream => timeouts.stream,
            Phase::Response => timeouts.response,
            // The end of a response is still on its way.
            Phase::Linger if unsaid => timeouts.stream,
            Phase::Linger => LINGER,
        };
        self.arm_session(id, after);
    }

    /// A session's time is up.
    pub(crate) fn session_expired(&mut self, id: ConnId) {
        let phase = match &self.conns[id].role {
            Role::Free => return,
            Role::LoadClient(_) => return self.load_client_expired(id),
            Role::LoadOrigin(_) => return self.load_origin_expired(id),
            Role::Client(client) => client.phase,
            Role::Upstream(upstream) => {
                if upstream.client.is_some() {
                    return;
                }
                if self.conns[id].ending == Ending::Open {
                    // One that is not in the pool waits for its endpoint to close it.
                    self.counters[Timeout::UpstreamIdle] += u64::from(upstream.idle_at.is_some());
                    self.close_upstream(id);
                } else {
                    self.abort(id);
                }
                return;
            }
        };
        match phase {
            Phase::Handshake => {
                self.counters[Timeout::Handshake] += 1;
                self.abort(id);
            }
            Phase::Idle => {
                self.counters[Timeout::Idle] += 1;
                self.close_client(id);
            }
            Phase::Head => {
                self.counters[Timeout::RequestHead] += 1;
                let line = self.settings.access_log.then(|| self.proxy.saved.keep(b""));
                self.reply_and_close(
                    id,
                    408,
                    "the request head did not come in time",
                    LocalReply::HeadTimeout,
                    line,
                );
            }
            Phase::Pending => {
                self.counters[Timeout::Pending] += 1;
                self.fail(
                    id,
                    503,
                    "no connection to the cluster became free in time",
                    LocalReply::Overloaded,
                );
            }
            Phase::Connect => {
                self.counters[Timeout::Connect] += 1;
                self.fail(
                    id,
                    504,
                    "the endpoint did not connect in time",
                    LocalReply::UpstreamTimeout,
                );
            }
            Phase::Response => {
                self.counters[Timeout::Response] += 1;
                self.fail(
                    id,
                    504,
                    "the endpoint did not answer in time",
                    LocalReply::UpstreamTimeout,
                );
            }
            Phase::Request => {
                self.counters[Timeout::Stream] += 1;
                self.fail(
                    id,
                    408,
                    "the request body made no progress",
                    LocalReply::HeadTimeout,
                );
            }
            Phase::Stream => {
                self.counters[Timeout::Stream] += 1;
                self.end_exchange(id);
                self.abort(id);
            }
            Phase::Linger => self.abort(id),
        }
    }
}
