//! What is to be done with a request: from its head and the routes.

use std::net::SocketAddr;

use super::exchange::{Body, Exchange, ReplyState};
use super::outcome::first_line;
use super::router::route;
use super::saved::SavedId;
use super::{Client, Proxy};
use crate::counters::LocalReply;
use crate::http1::framing::{is_persistent, request_framing};
use crate::http1::rewrite::write_request;
use crate::http1::{HeadScan, MessageKind, Method, RequestLine, RequestRewrite, Version};
use crate::settings::Settings;

/// What is to be done with a request.
pub(super) enum Plan {
    /// Send it on; its new head is in [`Proxy::out`].
    Forward(Exchange),
    /// Answer it here.
    Reply {
        status: u16,
        cause: &'static str,
        counter: LocalReply,
        version: Version,
        head_only: bool,
        /// The connection goes on: the client says so, and no body is on its way.
        persists: bool,
        /// For the access log.
        request_line: Option<SavedId>,
    },
}

impl Proxy {
    /// Decides what to do with the request whose head has just been parsed, and writes the head
    /// that is sent on.
    pub(super) fn plan(
        &mut self,
        settings: &Settings,
        client: &Client,
        head: &[u8],
        line: RequestLine,
        peer: Option<SocketAddr>,
        now_us: u64,
    ) -> Plan {
        let listener = &settings.listeners[usize::from(client.listener.0)];
        let head_only = line.method == Method::Head;
        let framing = request_framing(&self.head);
        let most = settings.limits.max_requests.unwrap_or(u32::MAX);
        let persists =
            is_persistent(line.version, self.head.connection()) && client.requests + 1 < most;
        let request_line = settings
            .access_log
            .then(|| self.saved.keep(first_line(head)));
        let reply = |status, cause, counter| Plan::Reply {
            status,
            cause,
            counter,
            version: line.version,
            head_only,
            persists: persists && matches!(Body::from(framing), Body::Done),
            request_line,
        };
        let parsed = &self.head;
        if parsed.max_forwards() == Some(0) {
            return reply(501, "Max-Forwards reached", LocalReply::NotImplemented);
        }
        let authority = parsed.authority().map_or(&b""[..], |part| part.of(head));
        let Some(cluster) = route(&listener.routes, authority, line.path(head)) else {
            return reply(404, "no route matches", LocalReply::NoRoute);
        };
        let state = &mut self.clusters[usize::from(cluster.0)];
        let endpoint = &state.endpoints[usize::from(state.next)];
        let upgrade = settings.forwarding.upgrade && parsed.upgrade().is_some();
        let Some(peer) = peer else {
            return reply(400, "connection without peer", LocalReply::BadRequest);
        };
        self.out.clear();
        write_request(
            &mut self.out,
            head,
            parsed,
            line,
            &RequestRewrite {
                forwarding: &settings.forwarding,
                client: peer.ip(),
                scheme: listener.scheme,
                default_host: &endpoint.host,
                body: framing,
                upgrade,
            },
        );
        let request = Body::from(framing);
        let bodyless = matches!(request, Body::Done);
        let saved = bodyless.then(|| self.saved.keep(&self.out));
        Plan::Forward(Exchange {
            cluster,
            upstream: None,
            pending: None,
            request,
            response: ReplyState::Head {
                scan: HeadScan::new(MessageKind::Response),
            },
            client_persists: persists,
            upstream_persists: true,
            version: line.version,
            head_only,
            repeatable: bodyless && line.method.is_idempotent(),
            upgrade,
            saved,
            attempts: 0,
            answered: false,
            status: 0,
            sent_from: 0,
            started_us: now_us,
            request_line,
            endpoint: None,
        })
    }
}
