/* SPDX-License-Identifier: MIT */
/*
 * private -- what the files of pager/ offer each other;
 * each group is documented where it is defined.
 */
#ifndef ZA_PAGER_PRIVATE_H
#define ZA_PAGER_PRIVATE_H

#include "pager/policy.h"
#include "pager/state.h"

/* place.c: records and registration */
bool za_place_reserve(void);
bool za_place_records(size_t nchunks);
bool za_place_register(size_t chunk);
int za_place_register_again(int fd);
void za_place_unregister_chunks(void);
void za_place_unregister_all(void); /* and the bell */
int za_place_register_bell(int fd);
bool za_place_ready_bell(void);
bool za_place_exists(size_t page, bool in_mirror); /* certainly */
bool za_place_gone(size_t page, bool in_mirror);   /* certainly: a hole */

/* back.c: from the mirror to the heap; `again` is what the caller does about EAGAIN */
int za_back_copy(size_t page, bool keep, void (*again)(void));
void za_back_must_exist(size_t page);
int za_back_carry(size_t to, size_t from);
void za_back_empty(size_t page, size_t n);

/* probe.c, pack.c, drop.c, relocate.c: steps of W */
size_t za_probe_unit(size_t unit);
size_t za_probe_there(void);
void za_moving_end(size_t page, za_page to);
bool za_moving_over(size_t page, size_t n);
bool za_pack_unit(size_t unit);
void za_pack_zeros(size_t unit);
void za_scrub_begin(void);
size_t za_scrub(size_t page, char *copy);
void za_clear_dead(size_t first, size_t n);
int za_drop_range(uintptr_t addr, size_t len);
int za_relocate_range(uintptr_t from, uintptr_t to, size_t len);

/* pin.c: units that stay; steps of W, or of amid.c */
bool za_pin_holds(size_t unit);
bool za_pin_marked(uintptr_t addr, size_t len); /* is any of it pinned, for whatever reason? */
int za_pin_range(uintptr_t addr, size_t len, enum za_pin why);
int za_unpin_range(uintptr_t addr, size_t len, enum za_pin why);
void za_pin_call_begins(void);
void za_pin_call_ends(void);
void za_pin_forget(void);
void za_pin_fetch(size_t page);
void za_pin_everything(void);
bool za_pin_out(uintptr_t addr, size_t len);
bool za_pin_note(uintptr_t addr, size_t len); /* poster, holding the mail, before W is born */
void za_pin_noted(void);
int za_keep_begin(void);
int za_keep_end(void);

/* plan.c: when which unit is looked at */
enum za_plan_end { ZA_PLAN_DONE, ZA_PLAN_THROTTLED, ZA_PLAN_CALLED };
enum za_plan_end za_plan_turn(uint64_t now, uint32_t *next);
bool za_plan_press(uint64_t now); /* true: more is wanted at once */
bool za_plan_credit(void);
void za_plan_everything(bool polite);
void za_plan_dense(bool polite);
void za_plan_forget(void);
extern uint32_t za_plan_clock_end; /* tick at which the clock is put back; tests change it */
void za_plan_rested(size_t first_page, size_t npages);
uint16_t za_unit_raw(const struct za_unit *u);

/* ksm.c */
void za_ksm_look(size_t chunk, unsigned raw, unsigned stored);
void za_ksm_gauges(void);

/* fault.c */
void za_fault_main(void *arg);
void za_fault_loop(bool child);
void za_fault_ring(void);
void za_fault_quiesce(void);
void za_fault_look_again(int fd); /* F, in a service: nothing was to be read from it */

/* fill.c: F's way from the blob to the heap, and to a bare child */
size_t za_fill_stored(size_t page, void (*again)(void));
void za_fill_window(size_t page, void (*again)(void));
void za_fill_child_page(int fd, size_t page, void (*again)(void));
void za_fill_child(int fd, void (*again)(void));

/* calm.c: children without handlers, and steps of W that take contents away */
void za_calm_begin(void); /* W */
void za_calm_end(void);
void za_calm_impose(void (*meanwhile)(void)); /* F */
void za_calm_lift(void);

/* heir.c: F and a child on its way to a fault thread of its own */
#define ZA_NO_PAGE SIZE_MAX
void za_heir_announced(int fd, size_t page);
void za_heir_settle(void (*meanwhile)(void));
#define ZA_HEIR_FDS 7u
#define ZA_SOCK_UNUSED(sock) (-2 - (sock)) /* and back: za_pg.heir_sock, taken by nobody */
unsigned za_heir_waits(int fds[ZA_HEIR_FDS]);
bool za_heir_unborn(void); /* the forking thread */
bool za_heir_serve(void);
void za_heir_forget(void);

/* pressure.c: the control group's limit */
void za_room_born(void); /* W */
uint64_t za_room_look(uint64_t now);
enum za_strain za_room_strain(void);
bool za_room_limited(void);
bool za_room_scarce(void);
uint64_t za_room_need(uint64_t now);
void za_room_pressed(uint64_t now, size_t pages, bool all_tried);
void za_room_hurry(bool on);
void za_room_suspend(void);
void za_room_resume(void);
void za_room_grown(uintptr_t top); /* the program's threads */
bool za_room_short(void);          /* F */
uint64_t za_room_patience(void);
void za_room_spend(size_t pages);
void za_room_forget(void); /* in a child */

/* wait.c: F's faults that wait for room */
bool za_wait_any(void);
bool za_wait_full(void);
void za_wait_add(size_t page, bool write);
bool za_wait_next(size_t *page, bool *write);
void za_wait_forget(void);

/* worker.c */
void *za_store_map(size_t len);
void za_store_unmap(void *p, size_t len);
void za_worker_start(void);
void za_worker_main(void *arg);

/* mail.c: requests of program threads to W */
enum za_mail_op {
    ZA_MAIL_NONE,
    ZA_MAIL_DISCARD,
    ZA_MAIL_RELOCATE,
    ZA_MAIL_EVICT,
    ZA_MAIL_DENSE,
    ZA_MAIL_FILE,
    ZA_MAIL_THAW,
    ZA_MAIL_STATS,
    ZA_MAIL_PIN,
    ZA_MAIL_UNPIN,
    ZA_MAIL_KEEP_BEGIN,
    ZA_MAIL_KEEP_END,
    ZA_MAIL_RENEW,
    ZA_MAIL_RETIRE,
    ZA_MAIL_PARK,
    ZA_MAIL_CLAIMED /* W carries it out */
};
int za_mail_retire(void);
int za_mail_post(enum za_mail_op op, uintptr_t a, uintptr_t b, size_t len);
int za_mail_try(enum za_mail_op op, uintptr_t a, uintptr_t b, size_t len); /* -ETIMEDOUT */
#define ZA_MAIL_WITHDRAWN 1            /* of za_mail_park: nothing is out, and nothing registered */
int za_mail_park(int sock, bool thaw); /* keeps requests out until unpark */
int za_mail_park_newborn(void);        /* after a park without a worker, if there is one now */
bool za_mail_waiting(void);            /* W: somebody wants something */
int za_mail_renew(int sock, void (*next)(void));
bool za_mail_parked(void);
void za_mail_release(void); /* W may go on: the fork is over */
bool za_mail_hold(void);    /* keep requests out for a moment, if nobody has one */
void za_mail_let_go(void);
void za_mail_unpark(void);
void za_mail_child(void);
void za_mail_bare(void);
bool za_mail_serve(void);     /* W; false: its time is over */
void za_mail_nudge(void);     /* F: wake W for a turn */
uint32_t za_mail_heard(void); /* W, before it looks what there is to do */
void za_mail_sleep(uint64_t timeout_ns, uint32_t heard); /* W; until it hears more */

/* renew.c: new threads after a change of identity */
bool za_renew_wanted(const struct za_identity *then, const struct za_identity *now);
void za_renew_born(void);
void za_renew_read(struct za_identity *out);
bool za_renew_leave(void);
int za_renew_hand_over(int tid, int theirs, uint64_t number);

/* door.c */
size_t za_thaw(void);
void za_door_serve(void); /* W */
void za_door_forget(void);

/* retire.c */
int za_retire(void);       /* W */
int za_retire_alone(void); /* P */

/* reconcile.c */
void za_reconcile(void);
void za_windowed_add(size_t page); /* F, in a window */
void za_windowed_inherited(void);  /* in a child */
bool za_windowed_all(void);        /* none had to be left out */
void za_undo_early(void);          /* a child's F, before it registers again */
bool za_left_behind(void);         /* in a child: is a page neither there nor to be had? */

/* inside.c */
void za_inside_enter(void);
void za_inside_leave(void);
void za_inside_leave_quietly(void);
void za_inside_forget(unsigned but);
bool za_inside(void);
void za_inside_owe(void);

/* amid.c: requests of a thread that can wait for nobody */
int za_amid_pin(uintptr_t addr, size_t len, enum za_pin why);
void za_amid_unpin(uintptr_t addr, size_t len, enum za_pin why);
bool za_amid_drop(uintptr_t addr, size_t len, int *result); /* false: some of it is out */
int za_amid_discard(uintptr_t addr, size_t len);
int za_amid_pin_late(uintptr_t addr, size_t len, enum za_pin why); /* instead of a request */
void za_amid_unpin_late(uintptr_t addr, size_t len, enum za_pin why);
int za_amid_discard_late(uintptr_t addr, size_t len);

/* fork.c */
void za_fork_found_bare(void);
void za_fork_turn(void);
void za_fork_exclude(void);
void za_fork_allow(void);
void za_fork_bare_child(enum za_fork_way w);
bool za_fork_reopen_works(void);

/* still.c: W's side of forks that cannot ask it to stand still */
void za_still_born(void);
void za_still_unborn(void);
void za_still_enter(void);
void za_still_leave(void);
void za_still_look(void);
void za_still_hold(void); /* any thread, any moment */
void za_still_let_go(void);
bool za_still_wanted(void);
void za_still_forget(void);
void za_still_change(bool on);

/* pager.c */
bool za_pager_start(void);
bool za_pg_is_ours(void);
bool za_pg_borrowed(void);

/* footprint.c */
void za_footprint(void);
void za_footprint_of_store(void);

#endif
