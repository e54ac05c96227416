//! Names that clients give themselves by the option of RFC 4704, and what they are told.

use super::Dhcp6Server;
use super::reply::FqdnAnswer;
use super::states::Context;

impl Dhcp6Server {
    /// The name under which a client's lease is entered: the one that it gives itself, if it is one and nobody else's;
    /// that of the lease that it has, if it says nothing.
    pub(super) fn host_name(&self, context: &Context<'_>) -> Option<String> {
        let mac = context.client.mac;
        let Some(fqdn) = &context.request.fqdn else {
            return self.learnt_name_of(mac).map(str::to_owned);
        };
        if fqdn.no_update {
            return None;
        }
        let label = context.rules.label_for(&fqdn.name, mac)?;
        let others = self.owner_of_name(&label).is_some_and(|owner| owner != mac);
        (!others).then_some(label)
    }

    /// The answer to a client that gave itself a name: the one that is configured for it, else its own if it may have
    /// that. We answer for names ourselves, whatever the client would rather do.
    pub(super) fn fqdn(&self, context: &Context<'_>) -> Option<FqdnAnswer> {
        let fqdn = context.request.fqdn.as_ref()?;
        let fixed = self.statics.get(context.client.mac);
        let fixed = fixed.and_then(|entry| entry.hostname.clone());
        let label = fixed.or_else(|| self.host_name(context));
        Some(FqdnAnswer {
            overridden: label.is_some() != (fqdn.server_updates && !fqdn.no_update),
            name: label.map(|label| context.rules.names.full(&label)),
        })
    }
}
