//! Each of the engine's actions, and who carries it out.

use atoll_engine::{Action, Command};

use crate::event_loop::EventLoop;
use crate::icmp::Echo;
use crate::leases::Leases;
use crate::tcp::PeekRequest;

impl EventLoop {
    pub(crate) fn carry_out(&mut self, action: Action) {
        let core = &mut self.core;
        match action {
            Action::Transmit(port) => self.guests.mark_dirty(port),
            Action::TcpConnect { flow, to, hops } => self.flows.tcp_connect(core, flow, (to, hops)),
            Action::TcpConnectService { flow, service } => {
                self.flows.tcp_connect_service(core, flow, service);
            }
            Action::TcpAdopt { accept, flow } => {
                if let Some(stream) = self.forwards.take(accept) {
                    self.flows.tcp_adopt(core, flow, (stream, Vec::new()));
                } else if let Some(client) = self.proxies.take(core, accept) {
                    self.flows.tcp_adopt(core, flow, client);
                }
            }
            Action::TcpRefuse { accept, why } => {
                self.forwards.refuse(accept);
                self.proxies.refuse(core, accept, why);
            }
            Action::TcpSend(flow) => self.flows.tcp_send(core, flow),
            Action::TcpPeek {
                flow,
                offset,
                segment,
                count,
            } => {
                let ask = PeekRequest {
                    offset,
                    segment,
                    count,
                };
                self.flows.tcp_peek(core, flow, ask);
            }
            Action::TcpAgain(flow) => self.flows.tcp_again(core, flow),
            Action::TcpDiscard { flow, bytes } => self.flows.tcp_discard(core, Some((flow, bytes))),
            Action::TcpShutdown(flow) => self.flows.tcp_shutdown(flow),
            Action::TcpReset(flow) => self.flows.tcp_reset(flow),
            Action::Close(flow) => self.flows.close(core, flow),
            Action::UdpOpen { flow, family } => self.flows.udp_open(core, flow, family),
            Action::UdpHops { flow, hops } => self.flows.udp_hops(core, flow, hops),
            Action::UdpSend {
                flow,
                to,
                payload,
                segment,
            } => self.flows.udp_send(core, flow, to, (payload, segment)),
            Action::UdpPause(flow) => self.flows.udp_pause(core, flow, true),
            Action::UdpResume(flow) => self.flows.udp_pause(core, flow, false),
            Action::UdpForwardSend {
                forward,
                to,
                payload,
                segment,
            } => self.forwards.udp_send(core, forward, to, (payload, segment)),
            Action::IcmpOpen { flow, family } => self.flows.icmp_open(core, flow, family),
            Action::IcmpSend {
                flow,
                to,
                seq,
                payload,
                ttl,
            } => {
                let echo = Echo {
                    to,
                    seq,
                    payload,
                    ttl,
                };
                self.flows.icmp_send(core, flow, &echo);
            }
            other => self.carry_out_service(other),
        }
    }

    /// Actions that belong to no flow and no port.
    fn carry_out_service(&mut self, action: Action) {
        match action {
            Action::DnsAsk {
                query,
                server,
                tcp,
                message,
            } => {
                self.dns.ask(&mut self.core, query, server, (tcp, message));
                self.follow_resolvers();
            }
            Action::DnsForget(query) => self.dns.forget(query),
            Action::LeasesChanged => {
                if let Some(store) = &self.leases {
                    let now = self.core.now();
                    store.put(Leases {
                        v4: self.core.engine.leases(now),
                        v6: self.core.engine.leases6(now),
                    });
                }
            }
            Action::Captured(frame) => {
                if let Some(capture) = &mut self.capture {
                    capture.add(&frame.bytes);
                }
            }
            Action::OpenUplink(mac) => self.uplinks.want(mac),
            Action::CloseUplink(mac) => {
                self.uplinks.give_up(&mut self.core, &mut self.guests, mac);
            }
            Action::Notice(notice) => tracing::warn!("{notice}"),
            other => tracing::error!("nobody carries out {other:?}"),
        }
    }

    fn follow_resolvers(&mut self) {
        let Some(servers) = self.resolvers.changed() else {
            return;
        };
        tracing::info!("the host's resolvers changed to {servers:?}");
        let now = self.core.now();
        let command = Command::SetResolvers(servers.to_vec());
        if let Err(error) = self.core.engine.apply(now, command) {
            tracing::warn!("the resolvers stay as they were: {error}");
        }
    }
}
