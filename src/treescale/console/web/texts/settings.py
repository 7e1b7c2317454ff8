"""What pages say of what namespaces and repositories are set to, and of who may do what there."""

from collections.abc import Mapping
from typing import Final

SETTINGS: Final[Mapping[str, str]] = {
    "settings_not_yours": "A maintainer of {name} may do this: an owner can make you one.",
    "settings_of": "Settings of {name}",
    "settings_action": "Action",
    "settings_description": "Description",
    "settings_description_label": "Text",
    "settings_description_hint": "markdown, without HTML; links lead to the web; empty for nothing",
    "settings_description_save": "Save the description",
    "settings_visibility": "Who may pull",
    "settings_visibility_legend": "Without a role",
    "settings_private": "private: only who was given a role pulls",
    "settings_internal": "internal: whoever is signed in pulls",
    "settings_public": "public: anybody pulls, without signing in",
    "settings_visibility_save": "Save",
    "settings_size": "Size",
    "settings_size_is": "{size} in {blobs} blobs, each counted once; {tags} tags.",
    "settings_quota_of": "Quota of {namespace}",
    "settings_no_quota": "There is no quota.",
    "settings_quota_used": "{used} of {quota} are used ({share} %).",
    "settings_quota_full": "Full: pushes are refused.",
    "settings_quota_near": "Nearly full.",
    "settings_quota_waiting": "{size} of it are deleted, and can be restored for a while.",
    "settings_limits": (
        "Repositories: {repositories}, at most {most}. Tags in each: at most {tags}."
    ),
    "settings_unlimited": "as many as you like",
    "settings_read_only": "Read-only",
    "settings_writable": "Pushes and deletions go on.",
    "settings_read_only_by_repository": "This repository is read-only.",
    "settings_read_only_by_namespace": "The namespace is read-only, with all in it.",
    "settings_read_only_by_cluster": "The whole registry is read-only for now.",
    "settings_read_only_what": (
        "Pulls go on; every push and deletion is refused until it is switched off again."
    ),
    "settings_read_only_on": "Make it read-only",
    "settings_read_only_off": "Make it writable again",
    "settings_move": "Give it another name",
    "settings_move_what": (
        "Nothing is copied, and the old name is free at once: whoever pulls {name} finds nothing. "
        "Access tokens and roles for a pattern, webhooks, and pipelines that name it do not follow."
    ),
    "settings_move_to": "The new name, also in another namespace",
    "settings_move_force": (
        "also what rules keep here, and with tags that rules have go in the other namespace"
    ),
    "settings_move_button": "Move it",
    "settings_delete": "Delete it",
    "settings_delete_what": "With all its tags; it can be restored for a while.",
    "settings_delete_button": "What would be deleted …",
    "settings_default": "Who may pull from new repositories",
    "settings_default_what": "Those that are there stay as they are.",
    "settings_usage": "Usage",
    "settings_months": "By month, the newest first",
    "settings_month": "Month",
    "settings_kept": "Kept on average",
    "settings_kept_max": "At most",
    "settings_pulled": "Sent by pulls",
    "settings_pulls": "Pulls",
    "settings_no_months": "Nothing was counted yet: it is counted once an hour.",
    "settings_remove": "Remove the organisation",
    "settings_remove_what": (
        "All repositories of {name} are deleted with their tags; an administrator can restore them "
        "for a while. Roles, robots, rules and webhooks end, and the name is free for anybody."
    ),
    "settings_remove_type": "Type its name, {name}",
    "settings_remove_button": "Remove it",
    "settings_type_name": "Nothing was removed: type the organisation's name, {name}.",
    "done_settings_described": "The description is saved.",
    "done_settings_visibility": "Who may pull is set; it holds at once.",
    "done_settings_default": "New repositories are like this from now on.",
    "done_settings_read_only": "It is set; it holds on all servers.",
    "done_settings_moved": "It has this name now.",
    "done_settings_removed": "The organisation is removed.",
    "members_of": "Members of {name}",
    "members_reader": "pulls",
    "members_writer": "pulls and pushes",
    "members_maintainer": (
        "also deletes, and looks after visibility, descriptions, robots, webhooks and rules"
    ),
    "members_owner": "also looks after members and settings",
    "members_own": "{name} owns this namespace without a role.",
    "members_caption": "Roles, by user",
    "members_user": "User",
    "members_change": "Change",
    "members_role_of": "Role of {user} for {repository}",
    "members_set": "Set",
    "members_revoke": "Revoke",
    "members_revoke_this": "Revoke {role} of {user} for {repository}",
    "members_none": "Nobody was given a role yet.",
    "members_grant": "Give somebody a role",
    "members_glob_hint": "* is all, {name}/app is one, {name}/web-* are some",
    "members_grant_button": "Give the role",
    "members_for_owners": "Owners see who has a role here.",
    "members_leave": "Leave",
    "members_leave_what": "All your roles in {name} end. An owner can give you others.",
    "members_leave_button": "Leave",
    "done_members_granted": "The role is given; it holds at once.",
    "done_members_revoked": "The role has ended; within a minute everywhere.",
    "done_members_left": "You have left.",
    "people_users": "Accounts",
    "people_state": "What they are",
    "people_is_user": "user",
    "people_is_suspended": "suspended",
    "people_reset": "Reset the password …",
    "people_reset_this": "Make a link with which {user} sets another password",
    "people_reset_link": "A link for another password of {user}",
    "people_suspend": "Suspend",
    "people_suspend_this": "Suspend {user}: no login and no access token of theirs works",
    "people_restore": "End the suspension",
    "people_restore_this": "End the suspension of {user}",
    "people_commands": (
        "Removing accounts, making administrators, quotas and sign-on providers: on the command "
        "line, by"
    ),
    "people_invitations": "Open invitations",
    "people_withdraw": "Withdraw",
    "people_withdraw_this": "Withdraw the invitation of {user}",
    "people_to": "To all people",
    "done_people_suspended": "The account is suspended; within a minute everywhere.",
    "done_people_restored": "The account works again.",
    "done_people_withdrawn": "The invitation is withdrawn: its link works no more.",
    "people_new": "New organisation",
    "people_new_what": "People share the repositories of an organisation, by roles.",
    "people_name_hint": "how its repositories begin: acme/app",
    "people_owner": "Its first owner",
    "people_new_button": "Make the organisation",
    "people_invite": "Invite somebody",
    "people_invite_what": (
        "You get a link to send: with it they make this account, once, within a week."
    ),
    "people_user_hint": "the name of their account",
    "people_namespace": "An organisation",
    "people_optional": "optional: they get the role below there",
    "people_admin": "an administrator",
    "people_invite_button": "Make the link",
    "people_invited": "The invitation of {user}",
    "people_invited_what": (
        "Send them this link, by a way that nobody else reads. It is shown this once, and good "
        "once, until {time}."
    ),
    "people_again": "Invite somebody else",
    "done_people_added": "The organisation is made. Give others a role.",
}
