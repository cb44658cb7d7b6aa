"""Configuration of Exim and Courier for `exim_courier`."""

from __future__ import annotations

AUTHDAEMON = """authmodulelist="authuserdb"
daemons=2
authdaemonvar=/run/courier/authdaemon
"""
#: imapd is configured by environment variables.
IMAPD = {
    "IMAP_TLS": "1",
    "TLS_CERTFILE": "/etc/mail.pem",
    "TLS_VERIFYPEER": "NONE",
    "IMAP_IDLE_TIMEOUT": "60",
    "IMAP_USELOCKS": "0",
    "IMAP_OBSOLETE_CLIENT": "0",
    "MAILDIRPATH": "Maildir",
}
EXIM = r"""primary_hostname = @HOST@
exim_user = @UID@
exim_group = @UID@
spool_directory = /spool
# Its name would be the same for all instances, each in a root directory of its own.
notifier_socket =
log_file_path = /log/exim_%slog
pid_file_path = /spool/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = @PORT_MX@ : @PORT_SUBMISSION@
tls_certificate = /etc/mail.pem
tls_privatekey = /etc/mail.pem
tls_advertise_hosts = *
auth_advertise_hosts = ${if and{{eq{$received_port}{@PORT_SUBMISSION@}}{def:tls_in_cipher}}{*}{}}
acl_smtp_rcpt = recipient
acl_smtp_data = accept
# Without root, so that no process in here has to become root again.
deliver_drop_privilege
host_lookup =
helo_allow_chars = []:
rfc1413_query_timeout = 0s
smtp_accept_max = 0
keep_environment =
disable_ipv6

begin acl
recipient:
  accept authenticated = *
  deny   condition = ${if eq{$received_port}{@PORT_SUBMISSION@}}
         message = sign in first
  deny   condition = ${if exists{/ailments/refuses}}
         message = mailbox disabled, ask the directory
  accept domains = @DOMAIN@
  deny   message = no relaying

begin routers
lost:
  driver = redirect
  domains = @DOMAIN@
  condition = ${if exists{/ailments/loses}}
  allow_fail
  data = :blackhole:
own:
  driver = accept
  domains = @DOMAIN@
  local_parts = lsearch;/etc/names
  transport = maildir
elsewhere:
  driver = manualroute
  domains = ! @DOMAIN@
  route_data = ${lookup{$domain}lsearch{/etc/neighbours}}
  self = send
  transport = outside

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = /mail/$local_part_data/Maildir
  create_directory
  return_path_add
  delivery_date_add
outside:
  driver = smtp
  allow_localhost
  port = 25
  hosts_try_dane =
  dnssec_request_domains =
  hosts_avoid_tls = *

begin retry
* * F,1h,1s

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if eq{$auth3}{@SECRET@}}
  server_set_id = $auth2
"""
