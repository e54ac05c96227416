//! One micro guest, driven by the shell on its serial console.
//!
//! A command's end is seen by a line that only its end writes: a number, which the command line itself
//! does not contain, and the exit status.

use crate::net::{send, wait};
use crate::output::Output;
use crate::{Cluster, Kit, LONG_PATIENCE, Net, PATIENCE};
use rustix::process::Signal;
use std::cell::Cell;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A guest that outlives the test that started it (killed with SIGKILL, say) ends by itself.
const LIFETIME_SECONDS: u32 = 1500;

/// What a command in a guest came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Exit status.
    pub status: i32,
    /// What it wrote to stdout and stderr.
    pub text: String,
}

/// How a guest's QEMU meets the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// `-netdev stream` to [`Net::socket`], again whenever the network was restarted.
    Stream,
    /// `-netdev dgram` to [`Net::dgram_socket`], from a socket of the guest's own.
    Dgram,
    /// `-netdev vhost-user` to [`Net::vhost_user_socket`], again whenever the network was restarted.
    VhostUser,
    /// The same with a device from before virtio 1.0.
    VhostUserLegacy,
}

impl Attach {
    /// What QEMU is told of it, without the NIC.
    fn arguments(self, kit: &Kit, net: &Net, number: usize) -> Vec<String> {
        let netdev = match self {
            Self::Stream => format!(
                "stream,id=n0,server=off,addr.type=unix,addr.path={}{}",
                net.socket().display(),
                kit.reconnect
            ),
            Self::Dgram => format!(
                "dgram,id=n0,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                net.folder().join(format!("guest-{number}.sock")).display(),
                net.dgram_socket().display()
            ),
            Self::VhostUser | Self::VhostUserLegacy => {
                let socket = net.vhost_user_socket();
                let chardev = format!(
                    "socket,id=c0,path={}{}",
                    socket.display(),
                    kit.reconnect_chardev()
                );
                let memory = format!("memory-backend-memfd,id=m0,size={MEMORY},share=on");
                let words = [
                    "-object",
                    &memory,
                    "-machine",
                    "memory-backend=m0",
                    "-chardev",
                    &chardev,
                ];
                let rest = ["-netdev", "vhost-user,id=n0,chardev=c0"];
                return words.into_iter().chain(rest).map(str::to_owned).collect();
            }
        };
        vec!["-netdev".to_owned(), netdev]
    }

    fn device(self) -> &'static str {
        match self {
            Self::VhostUserLegacy => "virtio-net-pci,disable-modern=on,disable-legacy=off",
            _ => "virtio-net-pci",
        }
    }
}

/// Memory of a guest, as QEMU's options name it.
const MEMORY: &str = "256M";

/// A running guest. Killed when dropped, unless it is a cluster's.
#[derive(Debug)]
pub struct Guest {
    /// Its name, for messages.
    pub name: String,
    /// Its QEMU, or `atoll console`.
    child: Child,
    console: Output,
    keyboard: ChildStdin,
    address: Cell<Option<IpAddr>>,
    commands: u32,
}

impl Guest {
    /// Starts guests with these names on `net`, all at once, and waits until each has its address.
    ///
    /// # Panics
    /// With its console's text, when one does not come up.
    #[must_use]
    pub fn start_all(kit: &Kit, net: &Net, names: &[&str]) -> Vec<Self> {
        let attached: Vec<_> = names.iter().map(|name| (*name, Attach::Stream)).collect();
        Self::start_attached(kit, net, &attached)
    }

    /// The same, each guest in its own way.
    ///
    /// # Panics
    /// With its console's text, when one does not come up.
    #[must_use]
    pub fn start_attached(kit: &Kit, net: &Net, guests: &[(&str, Attach)]) -> Vec<Self> {
        let start = |(number, (name, attach)): (usize, &(&str, Attach))| {
            let arguments = attach.arguments(kit, net, number);
            Self::start(kit, (&arguments, attach.device()), name, number)
        };
        let mut guests: Vec<Self> = guests.iter().enumerate().map(start).collect();
        for guest in &mut guests {
            guest.wait_until_ready();
        }
        guests
    }

    /// Starts a guest without a disk and without a kernel, whose NIC's own firmware boots from the network, and waits until what it
    /// booted has its address.
    ///
    /// # Panics
    /// With its console's text, when it does not come up.
    #[must_use]
    pub fn boot_from_network(kit: &Kit, net: &Net, name: &str) -> Self {
        let child = Command::new("qemu-system-x86_64")
            .args(["-machine", "q35", "-accel", "tcg", "-m", MEMORY])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-serial", "stdio", "-no-reboot", "-boot", "n"])
            .args(Attach::Stream.arguments(kit, net, 0))
            .args(["-device", "virtio-net-pci,netdev=n0,mac=52:54:00:77:00:02"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("QEMU was found when the kit was put together");
        let mut guest = Self::driven_by(child, name);
        guest.wait_until_ready();
        guest
    }

    fn start(kit: &Kit, (arguments, device): (&[String], &str), name: &str, number: usize) -> Self {
        let child = Command::new("qemu-system-x86_64")
            .args([
                "-machine",
                "q35",
                "-accel",
                "tcg",
                "-m",
                MEMORY,
                "-nodefaults",
                "-no-user-config",
            ])
            .args(["-display", "none", "-serial", "stdio", "-no-reboot"])
            .arg("-kernel")
            .arg(&kit.kernel)
            .arg("-initrd")
            .arg(&kit.initramfs)
            .args(["-append", &format!("{} atoll.hostname={name}", kit.append)])
            .args(arguments)
            .args([
                "-device",
                &format!("{device},netdev=n0,mac=52:54:00:77:00:{:02x}", number + 2),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("QEMU was found when the kit was put together");
        Self::driven_by(child, name)
    }

    /// A micro machine of a cluster that is up, at its console.
    ///
    /// # Panics
    /// When its console cannot be reached or has no shell.
    #[must_use]
    pub fn of_cluster(cluster: &Cluster, machine: &str) -> Self {
        let child = cluster
            .command(&["console", machine])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let mut guest = Self::driven_by(child, machine);
        let address = &cluster.nic(machine, 0)["address"];
        guest
            .address
            .set(address.as_str().and_then(|text| text.parse().ok()));
        guest.leave_line_editor();
        guest
    }

    fn driven_by(mut child: Child, name: &str) -> Self {
        let console = Output::collect(child.stdout.take().expect("stdout is piped"));
        let keyboard = child.stdin.take().expect("stdin is piped");
        Self {
            name: name.to_owned(),
            child,
            console,
            keyboard,
            address: Cell::new(None),
            commands: 0,
        }
    }

    fn wait_until_ready(&mut self) {
        let ready = self.console.wait(LONG_PATIENCE, ready_address);
        match ready {
            Ok(address) => self.address.set(Some(address)),
            Err(text) => panic!("guest {} did not get an address; its console:\n{text}", self.name),
        }
        self.leave_line_editor();
    }

    /// From the console's interactive shell to one that is not, for its stdout is no terminal when it starts:
    /// busybox's line editor now and then takes the end of a background job for the end of its input, and that
    /// shell ends.
    fn leave_line_editor(&mut self) {
        self.type_line("exec sh -c 'stty -echo; printf \"[plain%s\" \" shell]\"; exec sh >/dev/null 2>&1'\n");
        let plain = |text: &str| text.contains("[plain shell]").then_some(());
        let begun = self.console.wait(PATIENCE, plain);
        assert!(
            begun.is_ok(),
            "guest {} has no shell; its console:\n{}",
            self.name,
            self.console.text()
        );
        self.type_line(&format!(
            "exec >&0 2>&1; (sleep {LIFETIME_SECONDS}; poweroff -f) >/dev/null &\n"
        ));
        self.ok("true");
    }

    /// The address it was given.
    ///
    /// # Panics
    /// Before it is ready, which [`Guest::start_all`] waits for.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
            .get()
            .expect("a guest is handed out when it has its address")
    }

    /// Runs a shell command.
    ///
    /// # Panics
    /// With its console's text, when it does not end in time.
    pub fn run(&mut self, command: &str) -> Answer {
        self.begin(command).wait(self, PATIENCE)
    }

    /// Runs a shell command that must succeed; gives what it wrote.
    ///
    /// # Panics
    /// When it fails or does not end in time.
    pub fn ok(&mut self, command: &str) -> String {
        let answer = self.run(command);
        assert_eq!(
            answer.status, 0,
            "guest {}: `{command}` failed:\n{}",
            self.name, answer.text
        );
        answer.text
    }

    /// Starts a shell command, so that another guest can be driven while it runs.
    ///
    /// # Panics
    /// When the guest is gone.
    pub fn begin(&mut self, command: &str) -> Running {
        self.commands += 1;
        let begun = Running {
            number: self.commands,
            command: command.to_owned(),
        };
        let (first, last) = (begun.number / 10, begun.number % 10);
        let line = format!(
            "printf '\\n[{first}''{last} begins]\\n'; {command}\nprintf '\\n[{first}''{last} ends %d]\\n' $?\n"
        );
        self.type_line(&line);
        begun
    }

    fn type_line(&mut self, line: &str) {
        let typed = self
            .keyboard
            .write_all(line.as_bytes())
            .and_then(|()| self.keyboard.flush());
        assert!(
            typed.is_ok(),
            "guest {} is gone; its console:\n{}",
            self.name,
            self.console.text()
        );
    }

    /// Stops QEMU (SIGSTOP): the guest neither runs nor reads its network.
    ///
    /// # Panics
    /// When QEMU is gone.
    pub fn freeze(&self) {
        send(&self.child, Signal::STOP).expect("QEMU runs");
    }

    /// Lets a stopped QEMU go on.
    ///
    /// # Panics
    /// When QEMU is gone.
    pub fn thaw(&self) {
        send(&self.child, Signal::CONT).expect("QEMU runs");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It has ended already when these fail. SIGKILL ends a stopped process as well.
        let _ = self.child.kill();
        let _ = wait(&mut self.child, PATIENCE);
    }
}

/// A command that was typed and may still run.
#[derive(Debug)]
#[must_use]
pub struct Running {
    number: u32,
    command: String,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    /// With the console's text, when it does not end in time.
    pub fn wait(self, guest: &Guest, patience: Duration) -> Answer {
        let (first, last) = (self.number / 10, self.number % 10);
        let begins = format!("[{first}{last} begins]");
        let ends = format!("[{first}{last} ends ");
        let answer = guest.console.wait(patience, |text| between(text, &begins, &ends));
        answer.unwrap_or_else(|text| {
            panic!(
                "guest {}: `{}` did not end in time; its console:\n{text}",
                guest.name, self.command
            )
        })
    }
}

fn ready_address(console: &str) -> Option<IpAddr> {
    let words = console.split_once("atoll-micro: ready ")?.1;
    let (address, _) = words.split_once([' ', '\r', '\n'])?;
    address.parse().ok()
}

/// What stands between a command's two marks, and the status in the second.
fn between(console: &str, begins: &str, ends: &str) -> Option<Answer> {
    let (_, after) = console.split_once(begins)?;
    let (text, tail) = after.split_once(ends)?;
    let (status, _) = tail.split_once(']')?;
    let text = text.replace('\r', "").trim().to_owned();
    Some(Answer {
        status: status.parse().ok()?,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::{between, ready_address};
    use std::net::Ipv4Addr;

    #[test]
    fn an_answer_is_what_stands_between_the_marks() {
        let console = "printf '[1''2 begins]'; ls\r\n\n[12 begins]\r\nfile\r\n\r\n[12 ends 3]\r\n";
        let answer = between(console, "[12 begins]", "[12 ends ").unwrap();
        assert_eq!((answer.status, answer.text.as_str()), (3, "file"));
    }

    #[test]
    fn an_answer_is_not_there_before_its_last_character() {
        assert_eq!(
            between("[12 begins]\nfile\n[12 ends 1", "[12 begins]", "[12 ends "),
            None
        );
    }

    #[test]
    fn the_ready_line_may_come_in_pieces() {
        assert_eq!(ready_address("atoll-micro: ready 10.77.0.2"), None);
        let address = ready_address("boot\natoll-micro: ready 10.77.0.2 eth0\r\n");
        assert_eq!(address, Some(Ipv4Addr::new(10, 77, 0, 2).into()));
    }
}
