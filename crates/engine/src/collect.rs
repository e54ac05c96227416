//! What flows and services have brought about meanwhile, carried from one to the other.

use crate::Engine;
use crate::lan::Lan;
use crate::services::dns::{DnsClient, DnsOutput, DnsVia};
use crate::services::names::NameView;
use crate::services::tftp::TftpOutput;
use crate::{Action, FlowId, ForwardTarget, Instant, Listening, PortId};
use atoll_wire::Endpoint;
use std::collections::BTreeSet;

impl Engine {
    /// Carry what the services said to where it belongs, until they are silent.
    pub(crate) fn collect(&mut self, now: Instant) {
        self.flows.settle_dials(now, &mut self.lan);
        for (flow, message) in self.flows.take_dns_queries() {
            let client = DnsClient {
                ingress: self.ingress_of(now, flow),
                via: DnsVia::Tcp(flow),
            };
            let names = NameView {
                names: &self.names,
                dhcp: &self.dhcp,
                dhcp6: &self.dhcp6,
                heard: &self.lan.neighbors,
            };
            self.dns.handle_query(now, client, &message, names);
        }
        for (flow, ports) in self.flows.poll_reports() {
            self.handle_report(now, flow, &ports);
        }
        for flow in self.flows.take_gone() {
            self.dns.handle_disconnect(flow);
        }
        while let Some(output) = self.dns.poll_output() {
            self.handle_dns_output(now, output);
        }
        while let Some(output) = self.tftp.poll_output() {
            self.handle_tftp_output(now, output);
        }
        if self.dhcp.take_changed() | self.dhcp6.take_changed() {
            self.lan.actions.push_back(Action::LeasesChanged);
        }
        while let Some(notice) = self.dhcp.poll_notice().or_else(|| self.dhcp6.poll_notice()) {
            self.lan.notice(now, notice);
        }
    }

    /// A guest said at which ports it listens: it counts for who watches an address of this guest's.
    fn handle_report(&mut self, now: Instant, flow: FlowId, ports: &BTreeSet<Listening>) {
        let Some(src) = self.flows.guest_of(flow) else {
            return;
        };
        let from = self.ingress_of(now, flow);
        let lan = &self.lan;
        let view = NameView {
            names: &self.names,
            dhcp: &self.dhcp,
            dhcp6: &self.dhcp6,
            heard: &lan.neighbors,
        };
        let mut own = vec![src];
        if let Some(mac) = lan.neighbors.mac_of(src) {
            own.extend(lan.neighbors.addresses_of(mac));
        }
        let resolve = |lan: &Lan, name: &str| {
            let station = lan.address_of_station(now, name);
            station
                .map(|address| vec![address])
                .or_else(|| view.look_up(name))
        };
        let is_its = |guest: &ForwardTarget| {
            let found = guest.addresses(lan, &resolve).unwrap_or_default();
            found.iter().any(|address| own.contains(address))
        };
        self.watches.handle_report(now, from, ports, is_its);
    }

    fn handle_dns_output(&mut self, now: Instant, output: DnsOutput) {
        match output {
            DnsOutput::Ask {
                query,
                server,
                tcp,
                message,
            } => {
                self.lan.actions.push_back(Action::DnsAsk {
                    query,
                    server,
                    tcp,
                    message,
                });
            }
            DnsOutput::Forget(query) => self.lan.actions.push_back(Action::DnsForget(query)),
            DnsOutput::Answer { client, message } => {
                self.note_answer(now, client.ingress, &message);
                self.send_dns_answer(now, client, &message);
            }
        }
    }

    fn handle_tftp_output(&mut self, now: Instant, output: TftpOutput) {
        let action = match output {
            TftpOutput::Send { from, to, message } => {
                let message = atoll_wire::FrameBuf::copy_from(&message).into();
                return self.lan.send_udp(now, (from, to), message, false);
            }
            TftpOutput::Open { transfer, path } => Action::FileOpen { transfer, path },
            TftpOutput::Read {
                transfer,
                offset,
                len,
            } => Action::FileRead {
                transfer,
                offset,
                len,
            },
            TftpOutput::Close(transfer) => Action::FileClose(transfer),
        };
        self.lan.actions.push_back(action);
    }

    fn send_dns_answer(&mut self, now: Instant, client: DnsClient, message: &[u8]) {
        match client.via {
            DnsVia::Udp { guest, asked, .. } => {
                let answer = atoll_wire::FrameBuf::copy_from(message).into();
                let pair = (Endpoint::new(asked, 53), guest);
                self.lan.send_udp(now, pair, answer, false);
            }
            DnsVia::Tcp(flow) => self.flows.handle_dns_answer(now, &mut self.lan, flow, message),
        }
    }

    /// What a guest is told may be what a rule speaks of.
    fn note_answer(&mut self, now: Instant, port: PortId, message: &[u8]) {
        if self.lan.firewall.has_names()
            && let Some((name, records)) = crate::services::dns::addresses_told(message)
        {
            self.lan.firewall.note_answer(now, port, &name, &records);
        }
    }

    pub(crate) fn name_view(&self) -> NameView<'_> {
        NameView {
            names: &self.names,
            dhcp: &self.dhcp,
            dhcp6: &self.dhcp6,
            heard: &self.lan.neighbors,
        }
    }

    /// The port behind which a flow's guest is now.
    fn ingress_of(&self, now: Instant, flow: FlowId) -> PortId {
        let mac = self
            .flows
            .guest_of(flow)
            .and_then(|guest| self.lan.neighbors.mac_of(guest));
        mac.and_then(|mac| self.lan.switch.port_of(now, mac))
            .unwrap_or(PortId(u32::MAX))
    }
}
