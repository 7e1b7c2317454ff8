"""What pages say of the cluster."""

from collections.abc import Mapping
from typing import Final

OPERATOR: Final[Mapping[str, str]] = {
    "operator_whole": "Whole",
    "operator_not_whole": "Not whole",
    "operator_seen_by": "As {server} sees it",
    "operator_broken_since": "Not whole since",
    "operator_mended_at": "Whole again since",
    "operator_servers": "Servers",
    "operator_server": "Server",
    "operator_stores": "Stores",
    "operator_store": "Store",
    "operator_state": "State",
    "operator_zone": "Zone",
    "operator_version": "Version",
    "operator_last_heard": "Heard of last",
    "operator_to_clients": "To clients",
    "operator_from_clients": "From clients",
    "operator_to_servers": "To servers",
    "operator_from_servers": "From servers",
    "operator_rates_why": "Bytes in a second, as each server's heartbeat said last.",
    "operator_per_second": "{size}/s",
    "operator_unknown": "not known",
    "operator_never": "never",
    "operator_none_yet": "None yet.",
    "operator_partitions": "Copies that can be read now",
    "operator_partitions_why": (
        "Chunks are kept in 4,096 partitions, each with as many copies as the layout says. A "
        "square is a partition."
    ),
    "operator_partitions_picture": "The 4,096 partitions by copies that can be read",
    "operator_copies": "Copies",
    "operator_partitions_count": "Partitions",
    "operator_all_copies": "all {copies}",
    "operator_some_copies": "{copies}, and some are missing",
    "operator_one_copy": "one alone",
    "operator_no_copy": "none",
    "operator_fill": "Filled",
    "operator_free": "{size} free",
    "operator_homes": "Partitions",
    "operator_outside": "not in the layout",
    "operator_walk": "Walk",
    "operator_walk_repair": (
        "repair: {missing} missing, {misplaced} misplaced, {pending} to be looked at"
    ),
    "operator_walk_verify": "verify: all is there",
    "operator_walk_none": "not begun",
    "operator_time_left": "{time} left",
    "operator_verified": "All read back since",
    "operator_collection": "Collection",
    "operator_collection_waiting": "{size} wait for their leases to end",
    "operator_collection_trash": "{size} in the trash until {time}",
    "operator_collection_removed": "{size} taken away so far",
    "operator_collection_nothing": "nothing to free",
    "operator_collection_paused": "Nothing is collected: {why}.",
    "operator_jobs": "Work that was asked for",
    "operator_job": "Work",
    "operator_job_open": "under way",
    "operator_job_ended": "ended",
    "operator_job_by": "By",
    "operator_job_begun": "Begun",
    "operator_job_progress": "How far",
    "operator_job_stores": "{done} of {total} stores",
    "operator_job_partitions": "{done} of {total} partitions",
    "operator_job_given_up": "not waited for: {why}",
    "operator_job_moved": "Moved or read back",
    "operator_job_found": "What was found",
    "operator_job_lost": (
        "{chunks} chunks are lost. Push the images of the list on the cluster's page again."
    ),
    "operator_job_rotten": "Rotten copies were found of",
    "operator_job_fine": "Nothing is lost, and nothing was rotten.",
    "operator_lost": "Lost",
    "operator_lost_none": "Nothing is lost.",
    "operator_lost_why": (
        "Of these no store has a good copy of all bytes. Push the image again, and it is whole."
    ),
    "operator_lost_chunks": "{chunks} lost chunks",
    "operator_lost_image": "Image",
    "operator_lost_since": "Since",
    "operator_events": "What happened last",
    "operator_events_when": "When",
    "operator_events_what": "What",
    "operator_events_about": "About",
    "operator_events_who": "By",
    "operator_advice": "What to do",
    "operator_next_stop": "Stopping a server",
    "operator_do": "Have something done",
    "operator_do_verify": "Verify",
    "operator_do_repair": "Repair",
    "operator_do_collect": "Collect",
    "operator_do_read_only": "Read-only",
    "operator_do_drain": "Drain a server or a store",
    "operator_do_drain_of": "Drain {name}",
    "operator_will": "What it will do",
    "operator_will_verify": (
        "Every store reads all of its copies back, and has those that are rotten replaced from "
        "good ones. Nothing is taken away. It reads all there is once: pulls and pushes go first, "
        "and it may take hours."
    ),
    "operator_will_repair": (
        "Every store looks at once which copies it should have and has not, and gets them from the "
        "others. Nothing is taken away. It does that by itself, too; this has it begin now."
    ),
    "operator_will_collect": (
        "What no image needs any more, and whose time to be restored is over, is taken away: first "
        "what says so in the database, then the files, a lease later. What is taken away cannot be "
        "brought back. It happens by itself every hour; a dry run shows first what would go."
    ),
    "operator_dry_run": "Dry run",
    "operator_dry_run_title": "What would go",
    "operator_dry_run_nothing": "Nothing: no row is due.",
    "operator_dry_run_more": "and {count} more",
    "operator_dry_run_paused": "Nothing goes at all: {why}.",
    "operator_dry_run_files": "What stores would take away of their files",
    "operator_due_what": "What",
    "operator_due_name": "Name",
    "operator_due_size": "Size",
    "operator_due_why": "Why",
    "operator_begin_verify": "Verify now",
    "operator_begin_repair": "Repair now",
    "operator_begin_collect": "Collect now",
    "operator_target_will": (
        "All that {name} holds moves to the other servers, and is read the whole time. Keep it "
        "running until it is empty: this page says when. It can be taken back at any time."
    ),
    "operator_target_drain": "Drain it",
    "operator_target_undrain": "Take the drain back",
    "operator_target_draining": "It is draining.",
    "operator_target_partly": "Some of its stores are draining.",
    "operator_target_waiting": "To be waited for",
    "operator_target_empty": "It is empty: it may be stopped for good.",
    "operator_read_only_is": "The registry is read-only.",
    "operator_read_only_is_not": "The registry takes pushes and deletions.",
    "operator_read_only_will": (
        "While it is read-only pulls go on; pushes and deletions are refused on every server, with "
        "words that say so, and nothing is collected. It lasts until it is ended here or by "
        "`treescale cluster set read_only=off`."
    ),
    "operator_read_only_begin": "Make it read-only",
    "operator_read_only_end": "End read-only",
    "operator_spread": "Across the cluster",
    "operator_spread_of": "{image} across the cluster",
    "operator_spread_numbers": "{chunks} chunks, {size}, {copies} copies of each",
    "operator_spread_any": (
        "Any one of these may die, and it can still be pulled whole: {servers}."
    ),
    "operator_spread_some": (
        "One of these may die, and it can still be pulled whole: {may}. It cannot without one of "
        "these (chunks that lie there alone): {must}."
    ),
    "operator_spread_no_server": (
        "No server may die: chunks lie on one alone (so many): {servers}."
    ),
    "operator_spread_unreadable": (
        "{chunks} chunks cannot be read now: it cannot be pulled whole until a server with them is "
        "back."
    ),
    "operator_spread_lost": "{chunks} chunks are lost: push it again.",
    "operator_spread_owed": "{copies} copies are still to be made; that goes by itself.",
    "operator_spread_unsettled": (
        "The stores are being looked through after a change: copies may lie on others, too."
    ),
    "operator_spread_incomplete": "Only its first {chunks} chunks are shown.",
    "operator_spread_in_database": (
        "All of it is small, and lies in the database: no server's disk is needed."
    ),
    "operator_spread_rows": "Its chunks, in order, on each store",
    "operator_spread_row": "What of it lies on {server}",
    "operator_spread_read_row": "What was read from {server} in the last 10 seconds",
    "operator_spread_chunks": "Chunks",
    "operator_spread_cell": "A square is a chunk.",
    "operator_spread_cells": "A square is up to {chunks} chunks.",
    "operator_spread_more": "and {count} more stores",
    "operator_spread_reads": "Pulled from there, in the last 10 seconds",
    "operator_spread_reads_by": "Of pulls through {server}.",
    "operator_spread_reads_here": "What is being read is shown to who maintains it.",
    "operator_spread_reads_none": "nothing",
    "operator_spread_reads_some": "{cells} of {of} squares",
    "operator_spread_legend_here": "here",
    "operator_spread_legend_away": "on a store that cannot be read now",
    "operator_spread_legend_owed": "still to be copied there",
    "operator_spread_legend_lost": "lost",
    "done_operator_drain": "It is draining. It leaves the layout within seconds.",
    "done_operator_undrain": "The drain is taken back.",
    "done_operator_begun": "All stores are asked for it.",
    "done_operator_read_only_on": "The registry is read-only now, on all servers.",
    "done_operator_read_only_off": "The registry takes pushes again.",
}
