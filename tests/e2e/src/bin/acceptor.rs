//! What systemd does for a socket with `ListenSequentialPacket=` and `Accept=yes` (systemd.socket(5)): accepts each connection and starts
//! a program with it as standard input. Arguments: the socket's path, the program.

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), Some(program)) = (arguments.next(), arguments.next()) else {
        return Err("give a path and a program".into());
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(&path)?)?;
    set_permissions(&path, Permissions::from_mode(0o666))?;
    listen(&socket, 64)?;
    loop {
        let connection = accept_with(&socket, flags)?;
        let mut child = Command::new(&program)
            .env_clear()
            .stdin(Stdio::from(connection))
            .stdout(Stdio::null())
            .spawn()?;
        std::thread::spawn(move || child.wait());
    }
}
