// SPDX-License-Identifier: MIT
// replaced -- a program replaces plain new and delete only: every other form must go through its
// own.
#include "check.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <string>

static int news, deletes;
static bool refuse;

void *operator new(std::size_t n)
{
    news++;
    void *p = refuse ? nullptr : std::malloc(n + 64);
    if (!p)
        throw std::bad_alloc();
    // Not what malloc gave: handing this to free would be caught.
    return static_cast<char *>(p) + 64;
}

void operator delete(void *p) noexcept
{
    if (!p)
        return;
    deletes++;
    std::free(static_cast<char *>(p) - 64);
}

static void pair(void *p, int before)
{
    CHECK(p != nullptr);
    CHECK(news == before + 1);
}

int main()
{
    int n = news, d = deletes;
    void *p = ::operator new[](100);
    pair(p, n);
    ::operator delete[](p);
    p = ::operator new(100, std::nothrow);
    pair(p, n + 1);
    ::operator delete(p, std::nothrow);
    p = ::operator new[](100, std::nothrow);
    pair(p, n + 2);
    ::operator delete[](p, std::nothrow);
    p = ::operator new(100);
    ::operator delete (p, std::size_t{100});
    p = ::operator new[](100);
    ::operator delete[](p, std::size_t{100});
    CHECK(deletes == d + 5);
    {
        std::string s(1000, 'x');
        std::unique_ptr<int[]> a(new int[1000]);
        CHECK(s.size() == 1000);
    }
    refuse = true;
    CHECK(::operator new(100, std::nothrow) == nullptr);
    CHECK(::operator new[](100, std::nothrow) == nullptr);
    return check_end();
}
