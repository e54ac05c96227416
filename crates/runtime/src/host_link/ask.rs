//! The command's part: the helper is asked for what the network planned.

use std::os::fd::OwnedFd;

use atoll_helper::{
    Grant, Granted, HelperError, HelperPath, LinkRequest, NamesRequest, NetworkName, NoDomain, Request,
    Session, WordError,
};

use super::{LinkAbout, LinkPlan, network_name};

/// What of a link is its asker's to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkWish {
    /// What the network is called: the interface's name follows from it.
    pub name: String,
    /// The host's resolver is told of the network's domain.
    pub names: bool,
    /// Guests may begin conversations with the host.
    pub guests: bool,
}

/// What was granted, to be handed over.
#[derive(Debug)]
pub struct Asked {
    /// The TAP; none where the link is names alone.
    pub tap: Option<OwnedFd>,
    /// What is known of it.
    pub about: LinkAbout,
    session: Session,
}

impl Asked {
    /// The session's descriptor, to be given to the network together with the TAP.
    ///
    /// # Errors
    /// No descriptor is left; then nothing is left of the link either.
    pub fn hand_over(self) -> std::io::Result<OwnedFd> {
        self.session.hand_over()
    }

    /// The session, while it is still ours.
    #[must_use]
    pub fn session(&self) -> &impl std::os::fd::AsFd {
        &self.session
    }
}

/// Why nothing was granted.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The helper.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// A range of the network's is none to the helper.
    #[error(transparent)]
    Word(#[from] WordError),
    /// The domain is none to the helper.
    #[error(transparent)]
    Domain(#[from] NoDomain),
    /// Where the link is names alone, it is for nothing else.
    #[error("the host is on this network by itself: a link to it is names alone, and {0} has no meaning")]
    NamesOnly(&'static str),
}

impl AskError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Helper(error) => error.hint(),
            Self::Domain(_) => Some("--no-names leaves the host's resolver alone".to_owned()),
            Self::NamesOnly(_) => Some("leave it out".to_owned()),
            Self::Word(_) => None,
        }
    }
}

/// Ask the helper for a link. What it made goes when what comes back is dropped.
///
/// # Errors
/// There is no helper for this user, or it refuses.
pub fn ask(plan: &LinkPlan, wish: &LinkWish) -> Result<Asked, AskError> {
    if plan.names_only {
        return ask_for_names(plan, wish);
    }
    let mut request = LinkRequest {
        network: name(&wish.name)?,
        subnet: plan.subnet.as_deref().map(str::parse).transpose()?,
        address: plan.address,
        prefix: plan.prefix.as_deref().map(str::parse).transpose()?,
        address6: plan.address6,
        mtu: plan.mtu,
        domain: None,
        resolvers: Vec::new(),
        guests: wish.guests,
    };
    if wish.names {
        request.domain = Some(plan.domain.parse()?);
        request.resolvers.clone_from(&plan.resolvers);
    }
    let mut session = Session::open(&HelperPath::find()?)?;
    let Granted { grant, tap } = session.ask(&Request::Link(request))?;
    Ok(Asked {
        tap: Some(tap),
        about: about(grant, wish),
        session,
    })
}

fn ask_for_names(plan: &LinkPlan, wish: &LinkWish) -> Result<Asked, AskError> {
    let request = names_request(plan, wish)?;
    let mut session = Session::open(&HelperPath::find()?)?;
    let grant = session.ask_for_names(request)?;
    Ok(Asked {
        tap: None,
        about: about(grant, wish),
        session,
    })
}

fn names_request(plan: &LinkPlan, wish: &LinkWish) -> Result<NamesRequest, AskError> {
    if !wish.names {
        return Err(AskError::NamesOnly("--no-names"));
    }
    if wish.guests {
        return Err(AskError::NamesOnly("--allow-guests"));
    }
    Ok(NamesRequest {
        network: name(&wish.name)?,
        subnet: plan.subnet.as_deref().map(str::parse).transpose()?,
        prefix: plan.prefix.as_deref().map(str::parse).transpose()?,
        domain: plan.domain.parse()?,
        resolvers: plan.resolvers.clone(),
    })
}

fn about(grant: Grant, wish: &LinkWish) -> LinkAbout {
    LinkAbout {
        interface: grant.interface,
        names: grant.names,
        guests: wish.guests,
        notes: grant.notes,
    }
}

fn name(word: &str) -> Result<NetworkName, WordError> {
    network_name(word).map_or_else(|| "net".parse(), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_alone_are_asked_for_with_the_networks_ranges_and_for_nothing_else() {
        let plan = LinkPlan {
            subnet: Some("192.168.77.0/24".to_owned()),
            address: None,
            prefix: None,
            address6: None,
            mtu: 1500,
            domain: "atoll.internal".to_owned(),
            resolvers: vec!["192.168.77.254".parse().unwrap()],
            names_only: true,
        };
        let wish = |names, guests| LinkWish {
            name: "lan".to_owned(),
            names,
            guests,
        };
        let request = names_request(&plan, &wish(true, false)).unwrap();
        assert_eq!(request.domain.as_str(), "atoll.internal");
        assert_eq!(request.resolvers, plan.resolvers);
        assert_eq!(request.subnet.map(|it| it.to_string()), plan.subnet);
        for wrong in [wish(false, false), wish(true, true)] {
            let error = names_request(&plan, &wrong).unwrap_err();
            assert!(matches!(error, AskError::NamesOnly(_)), "{error}");
        }
    }
}
