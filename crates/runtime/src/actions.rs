//! Each of the engine's actions, and who carries it out.

use std::net::SocketAddr;

use atoll_engine::{Action, Command, Event};

use crate::event_loop::EventLoop;
use crate::icmp::Echo;
use crate::leases::Leases;
use crate::tcp::PeekRequest;
use crate::tokens::Source;

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
                self.look_at_resolvers();
            }
            Action::DnsForget(query) => self.dns.forget(query),
            Action::FileOpen { transfer, path } => {
                let event = match self.files.open(transfer, &path) {
                    Ok(size) => Event::FileOpened { transfer, size },
                    Err(error) => Event::FileFailed { transfer, error },
                };
                self.core.tell(event);
            }
            Action::FileRead {
                transfer,
                offset,
                len,
            } => {
                let event = match self.files.read(transfer, offset, len) {
                    Ok(data) => Event::FileRead { transfer, data },
                    Err(error) => Event::FileFailed { transfer, error },
                };
                self.core.tell(event);
            }
            Action::FileClose(transfer) => self.files.close(transfer),
            Action::ReadClock(question) => {
                let reading = crate::sys::read_clock();
                self.core.tell(Event::ClockRead { question, reading });
            }
            Action::Route { to, packet } => self.joins.send(&mut self.core, to, packet),
            Action::LeasesChanged => {
                if let Some(store) = &self.leases {
                    let now = self.core.now();
                    store.put(Leases {
                        v4: self.core.engine.leases(now),
                        v6: self.core.engine.leases6(now),
                    });
                }
            }
            Action::Listening { watch, ports } => {
                let (core, forwards) = (&mut self.core, &mut self.forwards);
                self.automatic.handle_listening(core, forwards, watch, &ports);
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

    /// A guest asks something: the host's resolvers may be others without a word from the system.
    fn look_at_resolvers(&mut self) {
        let now = self.core.now();
        let changed = self.resolvers.changed_since_last_look(now).map(<[_]>::to_vec);
        self.set_resolvers(changed);
    }

    /// Something happened to the file that names the host's resolvers, or it is to be looked at again.
    pub(crate) fn follow_resolvers(&mut self) {
        if let Some(file) = self.resolvers.watch()
            && let Err(error) = self.core.watch_reading(file, Source::Resolvers)
        {
            tracing::debug!("the host's resolvers are looked at when somebody asks: {error}");
        }
        let now = self.core.now();
        let changed = self.resolvers.changed(now).map(<[_]>::to_vec);
        self.set_resolvers(changed);
    }

    fn set_resolvers(&mut self, servers: Option<Vec<SocketAddr>>) {
        let Some(servers) = servers else { return };
        tracing::info!("the host's resolvers changed to {servers:?}");
        let now = self.core.now();
        if let Err(error) = self.core.engine.apply(now, Command::SetResolvers(servers)) {
            tracing::warn!("the resolvers stay as they were: {error}");
        }
    }
}
