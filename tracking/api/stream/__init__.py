"""The stream process: server-sent events and long polls, beside the web processes. Served by config.asgi.

`app` is the ASGI application, `asked` what a request wants, `hub` hands events to those who wait, `tail` is the one
thread that hears of new events, `database` runs services in threads.
"""
