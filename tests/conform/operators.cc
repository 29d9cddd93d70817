// SPDX-License-Identifier: MIT
// operators -- every form of operator new and delete, and what a failing new does.
#include "check.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace
{
volatile std::size_t zero = 0;
const std::size_t impossible = PTRDIFF_MAX;

struct alignas(256) Wide {
    char bytes[700];
    Wide()
    {
        std::memset(bytes, 'w', sizeof(bytes));
    }
    ~Wide()
    {
        CHECK(bytes[699] == 'w');
    }
};

struct Base {
    virtual ~Base()
    {
    }
    char b[40];
};
struct Derived : Base {
    char d[4000];
};

// Allocates before main and after it.
struct Global {
    std::map<int, std::string> *m;
    Global() : m(new std::map<int, std::string>)
    {
        for (int i = 0; i < 1000; i++)
            (*m)[i] = std::string(static_cast<std::size_t>(i), 'g');
    }
    ~Global()
    {
        if ((*m)[999].size() != 999)
            std::_Exit(5);
        delete m;
    }
} global;

thread_local std::vector<std::string> local;

bool aligned(const void *p, std::size_t a)
{
    return reinterpret_cast<std::uintptr_t>(p) % a == 0;
}

void forms()
{
    const std::align_val_t al{512};
    for (std::size_t n = 0; n < 100000; n = n * 3 / 2 + 1) {
        ::operator delete(::operator new(n));
        ::operator delete(::operator new(n), n);
        ::operator delete[](::operator new[](n));
        ::operator delete[](::operator new[](n), n);
        ::operator delete(::operator new(n, std::nothrow), std::nothrow);
        ::operator delete[](::operator new[](n, std::nothrow), std::nothrow);
        void *p = ::operator new(n, al);
        CHECK(aligned(p, 512));
        ::operator delete(p, al);
        p = ::operator new[](n, al);
        CHECK(aligned(p, 512));
        ::operator delete[](p, al);
        p = ::operator new(n, al, std::nothrow);
        CHECK(aligned(p, 512));
        ::operator delete(p, al, std::nothrow);
        p = ::operator new[](n, al, std::nothrow);
        CHECK(aligned(p, 512));
        ::operator delete[](p, al, std::nothrow);
        ::operator delete(::operator new(n, al), n, al);
        ::operator delete[](::operator new[](n, al), n, al);
    }
    ::operator delete(nullptr);
    ::operator delete (nullptr, std::size_t{8});
    ::operator delete[](nullptr, al);
}

void objects()
{
    Wide *w = new Wide;
    CHECK(aligned(w, 256));
    delete w;
    Wide *many = new Wide[7];
    CHECK(aligned(many, 256));
    delete[] many;
    Base *b = new Derived;
    delete b;
    std::vector<std::string> v;
    for (int i = 0; i < 20000; i++)
        v.push_back(std::string(static_cast<std::size_t>(i % 300), 'v'));
    CHECK(v[299].size() == 299);
}

template <typename F> bool throws_bad_alloc(F f)
{
    try {
        (void)f();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

void without_handler()
{
    const std::align_val_t al{64};
    CHECK(throws_bad_alloc([] { return ::operator new(impossible - zero); }));
    CHECK(throws_bad_alloc([] { return ::operator new[](impossible - zero); }));
    CHECK(throws_bad_alloc([=] { return ::operator new(impossible - zero, al); }));
    CHECK(throws_bad_alloc([=] { return ::operator new[](impossible - zero, al); }));
    CHECK(throws_bad_alloc([] { return ::operator new(SIZE_MAX - zero); }));
    CHECK(::operator new(impossible - zero, std::nothrow) == nullptr);
    CHECK(::operator new[](impossible - zero, std::nothrow) == nullptr);
    CHECK(::operator new(impossible - zero, al, std::nothrow) == nullptr);
    CHECK(::operator new[](impossible - zero, al, std::nothrow) == nullptr);
}

int calls;

void gives_up()
{
    if (++calls == 3)
        std::set_new_handler(nullptr);
}

void throws_own()
{
    throw std::runtime_error("no more");
}

struct Full : std::bad_alloc {
};

void throws_full()
{
    throw Full();
}

void with_handler()
{
    calls = 0;
    std::set_new_handler(gives_up);
    CHECK(throws_bad_alloc([] { return ::operator new(impossible - zero); }));
    CHECK(calls == 3);
    calls = 0;
    std::set_new_handler(gives_up);
    CHECK(::operator new(impossible - zero, std::nothrow) == nullptr);
    CHECK(calls == 3);
    std::set_new_handler(throws_own);
    bool caught = false;
    try {
        (void)::operator new(impossible - zero);
    } catch (const std::runtime_error &) {
        caught = true;
    }
    CHECK(caught);
    std::set_new_handler(throws_full);
    CHECK(::operator new(impossible - zero, std::nothrow) == nullptr);
    CHECK(throws_bad_alloc([] { return ::operator new[](impossible - zero); }));
    std::set_new_handler(nullptr);
}

void in_threads()
{
    for (int i = 0; i < 200; i++) {
        std::thread t(
            [i] { local.assign(100, std::string(static_cast<std::size_t>(i + 20), 't')); });
        t.join();
    }
}
} // namespace

int main()
{
    forms();
    objects();
    without_handler();
    with_handler();
    in_threads();
    return check_end();
}
