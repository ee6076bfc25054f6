//! What becomes of a network when a container comes, leaves or changes its names: its port of the bridge, what its
//! neighbours know, its published ports and its names.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use super::Message;
use super::clients::{Client, Hub, Joining, Present};
use crate::net::{self, Listener, ListenerId, TakeHostClient};
use crate::shim::network::member::{self, Member};
use crate::store::container::network::{Protocol, PublishedPort};
use crate::sys::bridge::{self, End};
use crate::sys::{self, process, socket};

impl Hub {
    pub(super) fn admit(&mut self, client: &mut Client, joining: Joining) -> bool {
        let Joining { member, namespace, ports, .. } = joining;
        if let Err(e) = self.connect(&member, &namespace) {
            let _ = member::send(&client.socket, &Message::Failed(e.to_string()), &[]);
            return false;
        }
        if let Err(e) = self.acquaint(&member, &namespace) {
            let _ = member::send(&client.socket, &Message::Failed(e.to_string()), &[]);
            self.unplug(&member);
            return false;
        }
        let Ok(told) = self.table.tell() else { return false };
        self.rename(&addresses(&member), &[], &member.names);
        for address in addresses(&member) {
            self.upstreams.set(address, &member.dns, &self.segment.config());
        }
        self.table.another_came(Instant::now());
        let short = ports.iter().find_map(|(port, _)| self.short_way(&member, &namespace, port));
        let publish = |(port, socket)| self.publish(&member, &port, socket, short.clone());
        let ports = ports.into_iter().map(publish).collect();
        client.present = Some(Present { member, namespace, ports });
        let bytes = serde_json::to_vec(&Message::Joined).unwrap_or_default();
        let fds = [self.inside.namespace.as_fd(), told.as_fd()];
        socket::send(&client.socket, &[IoSlice::new(&bytes)], &fds, true).is_ok()
    }

    /// A port that the bridge still has is that of a container whose shim has come back.
    fn connect(&self, member: &Member, namespace: &OwnedFd) -> sys::Result<()> {
        let end = end(member);
        if !bridge::has_port(&member.port)? {
            bridge::plug(&self.segment.bridge(), &member.port, namespace, &end)?;
        }
        if self.inside.guarded { bridge::let_send(&member.port, &end) } else { Ok(()) }
    }

    /// All know each other's Ethernet addresses beforehand, so that nobody has to ask, and to believe an answer.
    fn acquaint(&self, member: &Member, namespace: &OwnedFd) -> sys::Result<()> {
        let others: Vec<_> = self.clients.iter().filter_map(|c| c.present.as_ref()).collect();
        if others.is_empty() {
            return Ok(());
        }
        let peers = others.iter().map(|other| peer(&other.member)).collect();
        bridge::acquaint(namespace, &member.interface, peers)?;
        for other in others {
            // One that is just ending has nobody to be deceived.
            let _ = bridge::acquaint(&other.namespace, &other.member.interface, vec![peer(member)]);
        }
        Ok(())
    }

    /// How clients on the host reach the container's published TCP ports without a packet, where the kernel can do
    /// that.
    pub(super) fn short_way(
        &self,
        member: &Member,
        namespace: &OwnedFd,
        port: &PublishedPort,
    ) -> Option<TakeHostClient> {
        if port.protocol != Protocol::Tcp {
            return None;
        }
        let mut config = self.segment.config();
        config.v4 = config.v4.map(|v4| net::V4 { address: member.ipv4, ..v4 });
        config.v6 = config.v6.zip(member.ipv6).map(|(v6, address)| net::V6 { address, ..v6 });
        net::publish::host_clients(process::duplicate(namespace.as_fd()).ok()?, config).ok()
    }

    pub(super) fn publish(
        &self,
        member: &Member,
        port: &PublishedPort,
        socket: OwnedFd,
        host_clients: Option<TakeHostClient>,
    ) -> ListenerId {
        let address = match (port.host_ip, member.ipv6) {
            (IpAddr::V6(_), Some(six)) => six.into(),
            _ => member.ipv4.into(),
        };
        self.handle.publish(Listener {
            socket,
            protocol: match port.protocol {
                Protocol::Tcp => net::Protocol::Tcp,
                Protocol::Udp => net::Protocol::Udp,
            },
            target: SocketAddr::new(address, port.container_port),
            host_clients,
        })
    }

    pub(super) fn leave(&mut self, present: Option<Present>) {
        let Some(Present { member, ports, namespace }) = present else { return };
        drop(namespace);
        let others: Vec<_> = self.clients.iter().filter_map(|c| c.present.as_ref()).collect();
        // An address that has been leased again since is known as its new holder's.
        let mut gone = addresses(&member);
        gone.retain(|address| !others.iter().any(|other| addresses(&other.member).contains(address)));
        for other in others {
            // One whose interface is gone has forgotten it already.
            let peer = bridge::Peer { mac: member.mac.0, addresses: gone.clone() };
            let _ = bridge::forget(&other.namespace, &other.member.interface, peer);
        }
        for port in ports {
            self.handle.unpublish(port);
        }
        self.rename(&addresses(&member), &member.names, &[]);
        for address in gone {
            self.table.hide(address);
            self.upstreams.forget(address);
        }
        self.unplug(&member);
    }

    fn unplug(&self, member: &Member) {
        if self.inside.guarded {
            let _ = bridge::silence(&member.port, &end(member));
        }
        let _ = bridge::unplug(&member.port);
    }

    /// A member that had these names has those: for whoever asks at one moment. Names that it has before and after
    /// are known all the time.
    pub(super) fn rename(&mut self, member: &[IpAddr], before: &[String], after: &[String]) {
        for name in after {
            self.names.entry(name.to_ascii_lowercase()).or_default().push(member.to_vec());
        }
        for name in before {
            let key = name.to_ascii_lowercase();
            if let Some(known) = self.names.get_mut(&key) {
                if let Some(at) = known.iter().position(|addresses| *addresses == member) {
                    known.remove(at);
                }
                if known.is_empty() {
                    self.names.remove(&key);
                }
            }
        }
        let known = |name: &String| {
            let all = self.names.get(&name.to_ascii_lowercase());
            (name.clone(), all.map(|all| all.concat()).unwrap_or_default())
        };
        self.table.change(before.iter().chain(after).map(known));
    }
}

fn end(member: &Member) -> End {
    End {
        name: member.interface.clone(),
        mac: member.mac.0,
        ipv4: member.ipv4,
        ipv6: member.ipv6,
        default_route: member.default_route,
        default_route6: member.default_route6,
    }
}

fn peer(member: &Member) -> bridge::Peer {
    bridge::Peer { mac: member.mac.0, addresses: addresses(member) }
}

pub(super) fn addresses(member: &Member) -> Vec<IpAddr> {
    std::iter::once(member.ipv4.into()).chain(member.ipv6.map(IpAddr::from)).collect()
}
