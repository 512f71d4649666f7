/* Runs a program in a console that takes no escape sequences as yet, and gives 0 if it does afterwards, else 1:
 *
 *     console PROGRAM ARGUMENT...
 *
 * Each console of Windows is like that until a program asks for more; Windows Terminal's is not. None of the words has a
 * space in it. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

/* Says to this program that it runs in that console. */
#define WITHIN "P2PDBG_TEST_CONSOLE"
#define NOT_RUN 99

static DWORD run(char *line, DWORD flags) {
    STARTUPINFOA startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    DWORD status = NOT_RUN;
    if (!CreateProcessA(NULL, line, NULL, NULL, FALSE, flags, NULL, NULL, &startup, &process)) return NOT_RUN;
    WaitForSingleObject(process.hProcess, INFINITE);
    GetExitCodeProcess(process.hProcess, &status);
    return status;
}

int main(int count, char **words) {
    if (!getenv(WITHIN)) {
        SetEnvironmentVariableA(WITHIN, "1");
        return run(GetCommandLineA(), CREATE_NO_WINDOW);
    }
    char line[4096] = "";
    for (int i = 1; i < count; i++) {
        if (strlen(line) + strlen(words[i]) + 2 > sizeof line) return NOT_RUN;
        strcat(strcat(line, words[i]), " ");
    }
    HANDLE screen = CreateFileA("CONOUT$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                                OPEN_EXISTING, 0, NULL);
    DWORD mode;
    if (!GetConsoleMode(screen, &mode) || !SetConsoleMode(screen, mode & ~ENABLE_VIRTUAL_TERMINAL_PROCESSING))
        return NOT_RUN;
    if (run(line, 0) == NOT_RUN || !GetConsoleMode(screen, &mode)) return NOT_RUN;
    return !(mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING);
}
