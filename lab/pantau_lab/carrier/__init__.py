"""A telephone carrier that reaches only phones in this process, and speaks Twilio's API of 2010-04-01.

    phone.py     the phones, and what a test expects of them
    content.py   what a Malaysian carrier silently throws away
    carrier.py   what happens to an accepted message or call
    speech.py    what happens in a call: TwiML spoken, keys pressed
    callback.py  signed callbacks
    parameter.py the valid parameters of a request, as Twilio publishes them
    api.py       the HTTP API
    resource.py  the JSON of messages and calls

Numbers: Malaysian subscriber numbers never begin with 0, so "+60 3-0000 01xx" (office lines) and "+60 10-000 01xx"
(mobiles) have the right form, pass as possible numbers, and cannot belong to anybody.
"""
